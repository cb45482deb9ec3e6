"""The worker processes, one per library, and the command line."""

from dataclasses import asdict

import numpy as np
import pytest

from benchmarks.cases import Setting
from benchmarks.states import bound_for, dictionary, save_dictionary
from benchmarks.workers import workers
from sdlcore.random_streams import stream


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    setting = Setting(method="relu").toy
    W = np.eye(setting.dimension, dtype=np.float32)
    x = stream(0, "x").standard_normal((256, setting.dimension), dtype=np.float32)
    np.save(folder / "samples.npy", x)
    rows = dictionary(W, setting.latents, 0)
    save_dictionary(folder / "dictionary.safetensors", rows)
    return folder, bound_for(x, rows, 8)


def test_a_worker_trains_from_a_state_and_measures_itself(files):
    setting = asdict(Setting(method="relu").toy)
    folder, bound = files
    samples, rows = (str(folder / name) for name in ("samples.npy", "dictionary.safetensors"))
    with workers(["sdlcore"], threads=1) as (worker,):
        assert worker.receive()["versions"]["torch"]
        worker.ask("create", setting=setting, samples=samples, dictionary=rows, bound=bound / 2)
        worker.ask("steps", count=1)
        more = worker.ask("l0")["l0"]
        worker.ask("create", setting=setting, samples=samples, dictionary=rows, bound=bound)
        assert len(worker.ask("steps", count=3)["ms"]) == 3
        assert worker.ask("peak")["mb"] > 0
        assert worker.ask("l0")["l0"] == pytest.approx(8, rel=0.5)
        assert more > 12
