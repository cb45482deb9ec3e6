import pytest
import torch

from sdlcore.device import choose_device


@pytest.fixture
def two_gpus(monkeypatch):
    """Let torch see two GPUs; return the list of those that become current."""
    current: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    return current


def test_a_missing_gpu_is_not_silently_replaced(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for gpu in ("cuda", torch.device("cuda:1")):
        with pytest.raises(ValueError, match="torch sees no GPU"):
            choose_device(gpu)
    assert choose_device("auto") == choose_device(torch.device("cpu")) == choose_device("cpu") == torch.device("cpu")


def test_a_numbered_gpu_becomes_the_current_one(two_gpus):
    assert choose_device("cuda:1") == choose_device(torch.device("cuda:1")) == torch.device("cuda", 1)
    assert choose_device("auto") == torch.device("cuda")
    assert two_gpus == [1, 1]
    for wrong in ("cuda:2", "cuda:one"):
        with pytest.raises(ValueError, match=f"no {wrong}: torch sees 2 GPUs, counted from cuda:0"):
            choose_device(wrong)


def test_each_process_of_torchrun_has_the_gpu_of_its_local_rank(two_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert two_gpus == [1, 1, 1]
    with pytest.raises(
        ValueError, match="device is cuda:0, but torchrun gives this process cuda:1; set device to cuda"
    ):
        choose_device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match=r"no cuda:2: .* start one process for each GPU"):
        choose_device("auto")
    assert choose_device("cpu").type == "cpu"
