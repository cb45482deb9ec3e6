"""The step at which a training reaches another's error, and its settings."""

import pandas as pd
import pytest

from benchmarks.warm_start import reached, settings


@pytest.mark.parametrize(("fvu", "step"), [(0.5, 0), (0.2, 20), (0.15, 30), (0.05, None)])
def test_the_first_look_at_which_the_error_is_no_larger_counts(fvu, step):
    course = pd.DataFrame({"step": [0, 10, 20, 30, 40], "fvu": [0.5, 0.3, 0.2, 0.1, 0.3]})
    assert reached(course, fvu) == step


def test_it_trains_as_table_1_does_at_the_papers_scale():
    config = settings()
    assert (config.model.n_q, config.model.k, config.model.activation) == (16000, 64, "topk")
    assert (config.training.steps, config.training.batch_size, config.model.bias) == (392, 1024, False)
