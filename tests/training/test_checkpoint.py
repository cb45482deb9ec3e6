import pytest
import torch

from sdlcore.training.checkpoint import Checkpoint, describe_checkpoint, load_checkpoint, pack, save_checkpoint, unpack

CHECKPOINT = Checkpoint(7, 0.1, [{"step": 5, "loss": 0.25}], {"a": torch.arange(30)})


def test_a_checkpoint_is_loaded_by_its_training_alone(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    assert load_checkpoint(path, "me") is None
    assert describe_checkpoint(path) is None
    save_checkpoint(path, "me", CHECKPOINT, {"seed": 1})
    checkpoint = load_checkpoint(path, "me")
    assert torch.equal(checkpoint.tensors["a"], torch.arange(30))
    assert (checkpoint.step, checkpoint.seconds, checkpoint.history) == (7, 0.1, [{"step": 5, "loss": 0.25}])
    assert load_checkpoint(path, "someone else") is None
    assert describe_checkpoint(path) == ("me", 7, 0.1, {"seed": 1})


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, "me", CHECKPOINT)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors: damaged checkpoint .* delete it"):
        load_checkpoint(path, "me")
    assert describe_checkpoint(path) is None


def test_a_nested_state_is_packed_into_tensors_and_back():
    tensor = torch.arange(3.0)
    state = {
        "state": {0: {"step": torch.tensor(2.0), "mean": tensor}, 1: {"mean": tensor[:2]}},
        "groups": [{"lr": 0.1, "betas": (0.9, 0.999), "fused": None, "foreach": False, "name": "a"}],
        "nothing": {},
    }
    packed = pack("optimizer", object(), state)
    assert all(name.startswith("optimizer/") for name in packed)
    unpacked_state = unpack("optimizer", packed)
    assert repr(unpacked_state) == repr(state)
    assert unpacked_state["groups"][0]["betas"] == (0.9, 0.999)
    # safetensors does not write shared memory twice
    assert len({one.data_ptr() for one in packed.values()}) == len(packed)


def test_a_state_of_other_objects_is_refused():
    with pytest.raises(ValueError, match=r"the state of Event holds a set, .*; omit out=, and save"):
        pack("schedule", type("Event", (), {})(), {"names": {1, 2}})
