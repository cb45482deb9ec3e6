import pytest
import torch

from sdlcore.training.checkpoint import load_checkpoint, save_checkpoint


def test_a_checkpoint_is_given_only_to_the_training_that_wrote_it(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    assert load_checkpoint(path, "me") is None
    save_checkpoint(path, "me", {"a": torch.arange(3)}, {"step": 7, "x": 0.1})
    tensors, state = load_checkpoint(path, "me")
    assert torch.equal(tensors["a"], torch.arange(3))
    assert state == {"step": 7, "x": 0.1}
    assert load_checkpoint(path, "someone else") is None


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, "me", {"a": torch.arange(30)}, {})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors: damaged checkpoint .* delete it"):
        load_checkpoint(path, "me")
