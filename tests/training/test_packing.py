import pytest
import torch

from sdlcore.training.packing import pack, unpack


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
