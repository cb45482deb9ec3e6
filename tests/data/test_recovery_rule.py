import numpy as np
import torch

from sdlcore.data.recovery_rule import TAU, TAU_STRICT, recovered


def test_a_feature_is_recovered_above_tau_and_not_at_it():
    assert recovered(np.array([0.89, TAU, 0.91])).tolist() == [False, False, True]
    assert recovered(torch.tensor([0.94, 0.96]), TAU_STRICT).tolist() == [False, True]
    assert not recovered(0.9)
