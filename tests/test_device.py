import pytest
import torch

from sdlcore.device import choose_device


def test_a_gpu_that_is_not_there_is_not_replaced_in_silence():
    if torch.cuda.is_available():
        assert choose_device("cuda").type == choose_device("auto").type == "cuda"
    else:
        with pytest.raises(ValueError, match="torch sees no GPU"):
            choose_device("cuda")
        assert choose_device("auto").type == "cpu"
    assert choose_device("cpu").type == "cpu"
