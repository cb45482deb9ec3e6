import pytest
import torch

from sdlcore.training.checkpoint import Checkpoint, describe_checkpoint, load_checkpoint, save_checkpoint

CHECKPOINT = Checkpoint(7, 0.1, [{"step": 5, "loss": 0.25}], {"a": torch.arange(30)})


def test_a_checkpoint_holds_a_state_and_facts_about_its_training(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    assert load_checkpoint(path) is None
    assert describe_checkpoint(path) is None
    save_checkpoint(path, CHECKPOINT, {"seed": 1})
    checkpoint = load_checkpoint(path)
    assert torch.equal(checkpoint.tensors["a"], torch.arange(30))
    assert (checkpoint.step, checkpoint.seconds, checkpoint.history) == (7, 0.1, [{"step": 5, "loss": 0.25}])
    assert describe_checkpoint(path) == (7, 0.1, {"seed": 1})


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, CHECKPOINT)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors: damaged checkpoint .* delete it"):
        load_checkpoint(path)
    assert describe_checkpoint(path) is None
