"""The table behind the default settings."""

from benchmarks import default_settings as benchmark
from sdlcore.run import RunConfig


def test_the_chosen_candidate_is_the_default():
    default = RunConfig.from_dict({"activation": "topk", "k": 1}).to_dict()
    assert {name: default[name] for name in benchmark.RESAMPLED} == benchmark.RESAMPLED


def test_candidates_and_methods_are_settings_of_a_run():
    for method in benchmark.METHODS:
        for candidate in benchmark.CANDIDATES:
            settings = candidate | benchmark.method_settings(method, 16, candidate)
            assert settings == {name: RunConfig.from_dict(settings).to_dict()[name] for name in settings}
