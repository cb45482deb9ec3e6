import pytest
import torch

from sdlcore.device import choose_device, device_of


def test_a_missing_gpu_is_not_silently_replaced():
    if torch.cuda.is_available():
        assert choose_device("cuda").type == choose_device("auto").type == "cuda"
    else:
        with pytest.raises(ValueError, match="torch sees no GPU"):
            choose_device("cuda")
        with pytest.raises(ValueError, match="torch sees no GPU"):
            device_of(torch.device("cuda:1"))
        assert choose_device("auto").type == "cpu"
    assert device_of(torch.device("cpu")) == device_of("cpu") == choose_device("cpu") == torch.device("cpu")


def test_a_numbered_gpu_becomes_the_current_one(monkeypatch):
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert device_of("cuda:1") == device_of(torch.device("cuda:1")) == torch.device("cuda", 1)
    assert chosen == [1, 1]
    for wrong in ("cuda:2", "cuda:one"):
        with pytest.raises(ValueError, match=f"device is {wrong}, but torch sees 2 GPUs, counted from cuda:0"):
            device_of(wrong)


def test_a_process_without_a_gpu_for_its_rank_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match="process 2 on this machine has no GPU, since torch sees 1"):
        choose_device("auto")
    assert choose_device("cpu").type == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert choose_device("auto").type == "cuda"
