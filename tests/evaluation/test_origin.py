"""A dictionary from another run in a run's folder is rejected."""

import numpy as np
import pytest
import torch

from sdlcore.data.reading import content_digest
from sdlcore.data.writing import create_store
from sdlcore.evaluation.origin import check_origin
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import load_model, save_model
from sdlcore.random_streams import torch_stream
from sdlcore.run import RunConfig
from sdlcore.solvers.settings import SolverConfig
from sdlcore.storage.files import write_json

SETTINGS = RunConfig.from_dict({"activation": "topk", "k": 2, "n_q": 8, "multi_k": [1, 2]}).to_dict()
FACTS = {
    "settings": SETTINGS,
    "seed": 0,
    "inputs": {"store": "a" * 64, "anchors": None},
    "versions": {"torch": "2.6"},
    "threads": 8,
}


GONE = "a store that was removed"


def leave(folder, facts):
    """Write the files of a run, as trainings do, and return its dictionary."""
    folder.mkdir(exist_ok=True)
    config = RunConfig.from_dict({"activation": "topk", "k": 2, "n_q": 8}).model
    write_json(folder / "config.json", facts)
    save_model(folder / "model.safetensors", SparseCoder(config, (5,), (5,), torch_stream(0, "x")), facts)
    return folder / "model.safetensors"


def write_store(path, value=1):
    """Write a store that contains a single number."""
    with create_store(path, {"written": str(path)}) as store:
        store.append(np.full((4, 5), value))
    return path


def test_check_origin_accepts_the_runs_dictionary(tmp_path):
    check_origin(leave(tmp_path / "a", FACTS), SETTINGS, 0, GONE)
    check_origin(leave(tmp_path / "b", FACTS), {**SETTINGS, "an_option_that_was_added": 1}, 0, GONE)
    solved = SolverConfig(solver="acs", n_atoms=99).to_dict()
    check_origin(leave(tmp_path / "c", FACTS | {"settings": solved, "seed": 3}), solved, 3, GONE)
    for name in "abc":
        assert load_model(tmp_path / name / "model.safetensors")(torch.ones(2, 5)).x_hat.isfinite().all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "seed is 1, but this run is to have 0"),
        ({"settings": {**SETTINGS, "k": 4}}, "settings.k is 4, but this run is to have 2"),
        ({"settings": {**SETTINGS, "multi_k": [2]}}, r"settings.multi_k is \[2\], but this run is to have \[1, 2\]"),
        ({"settings": {**SETTINGS, "lr": 0.1}}, "settings.lr is 0.1, but this run is to have 0.001"),
        ({"settings": SolverConfig().to_dict()}, "settings.* is .*, but this run is to have nothing"),
        ({"settings": None}, "settings is nothing, but this run is to have"),
        (
            {"seed": 1, "settings": dict.fromkeys(SETTINGS, 0)},
            r"more\)\. Move it to a folder of its own and open it there with sdl\.load, or delete it to train this run",
        ),
    ],
)
def test_a_dictionary_of_another_run_is_refused_by_what_differs_with_its_whole_folder_too(tmp_path, changed, message):
    model = leave(tmp_path / "a", FACTS | changed)
    with pytest.raises(ValueError, match=rf"a/model\.safetensors belongs to a different run: .*{message}"):
        check_origin(model, SETTINGS, 0, GONE)


def of_another_run(folder, changed):
    """Return a run's folder with the dictionary of another run, or with another text as its description."""
    model = leave(folder / "a", FACTS)
    if isinstance(changed, str):
        model.with_name("config.json").write_text(changed)
    else:
        leave(folder / "b", FACTS | changed).replace(model)
    return model


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"inputs": {"store": "b" * 64, "anchors": None}}, 'inputs.store is "b+...b+", but config.json has "a+...a+"'),
        ({"inputs": {"store": "a" * 64, "anchors": "c"}}, 'inputs.anchors is "c", but config.json has nothing'),
        ({"versions": {"torch": "2.7"}}, "versions.torch is .2.7., but config.json has .2.6."),
        ({"start": "d"}, "start is .d., but config.json has nothing"),
        ({"seed": 1}, "seed is 1, but config.json has 0"),
        *((content, "") for content in ("", "[]", "{", "[" * 10**5, "null")),
    ],
)
def test_opening_a_dictionary_of_another_run_is_refused(tmp_path, changed, message):
    refusal = rf"a/(config\.json: cannot be read|model\.safetensors belongs to a different run): .*{message}"
    with pytest.raises(ValueError, match=refusal if message else refusal.removesuffix(": .*")):
        load_model(of_another_run(tmp_path, changed))


def test_a_whole_folder_of_a_run_on_another_source_with_equal_settings_is_refused(tmp_path):
    store, other = write_store(tmp_path / "train.h5"), write_store(tmp_path / "other.h5", 2)
    model = leave(tmp_path / "a", FACTS | {"inputs": {"store": content_digest(store)}})
    check_origin(model, SETTINGS, 0, store)
    check_origin(model, SETTINGS, 0, write_store(tmp_path / "equal.h5"))
    with pytest.raises(ValueError, match=r'different run: inputs\.store is ".*", but .*other\.h5 has "'):
        check_origin(model, SETTINGS, 0, other)
    nothing = leave(tmp_path / "c", FACTS | {"inputs": None})
    with pytest.raises(ValueError, match=r"inputs\.store is nothing, but .*train\.h5 has"):
        check_origin(nothing, SETTINGS, 0, store)
