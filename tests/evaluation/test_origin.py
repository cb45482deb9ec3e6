"""A dictionary of another run, put into a run's folder, is not taken for that run's."""

import json

import pytest

from sdlcore.evaluation.origin import check_origin
from sdlcore.files import write_json
from sdlcore.model import SparseCoder, save_model
from sdlcore.run import RunConfig
from sdlcore.solvers.settings import SolverConfig
from sdlcore.streams import torch_stream

SETTINGS = RunConfig.from_dict({"activation": "topk", "k": 2, "n_q": 8, "multi_k": [1, 2]}).to_dict()
FACTS = {
    "settings": SETTINGS,
    "seed": 0,
    "inputs": {"store": "a" * 64, "anchors": None},
    "versions": {"torch": "2.6"},
    "threads": 8,
}


def leave(folder, facts):
    """Leave the files of a run, as trainings do."""
    folder.mkdir(exist_ok=True)
    config = RunConfig.from_dict({"activation": "topk", "k": 2, "n_q": 8}).model
    write_json(folder / "config.json", facts)
    save_model(folder / "model.safetensors", SparseCoder(config, (5,), (5,), torch_stream(0, "x")), facts)
    return folder / "model.safetensors", folder / "config.json"


def test_a_runs_own_dictionary_is_taken(tmp_path):
    check_origin(*leave(tmp_path / "a", FACTS), SETTINGS, 0)
    check_origin(*leave(tmp_path / "b", FACTS), {**SETTINGS, "an_option_that_was_added": 1}, 0)
    solved = SolverConfig(solver="acs", n_atoms=99).to_dict()
    check_origin(*leave(tmp_path / "c", FACTS | {"settings": solved, "seed": 3}), solved, 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "seed is 1, but this run is to have 0"),
        ({"settings": {**SETTINGS, "k": 4}}, "settings.k is 4, but this run is to have 2"),
        ({"settings": {**SETTINGS, "multi_k": [2]}}, r"settings.multi_k is \[2\], but this run is to have \[1, 2\]"),
        ({"settings": SolverConfig().to_dict()}, "settings.* is .*, but this run is to have nothing"),
        ({"settings": None}, "settings is nothing, but this run is to have"),
        ({"inputs": {"store": "b" * 64, "anchors": None}}, 'inputs.store is "b+...b+", but config.json has "a+...a+"'),
        ({"inputs": {"store": "a" * 64, "anchors": "c"}}, 'inputs.anchors is "c", but config.json has nothing'),
        ({"versions": {"torch": "2.7"}}, "versions.torch is .2.7., but config.json has .2.6."),
        ({"start": "d"}, "start is .d., but config.json has nothing"),
        (
            {"seed": 1, "threads": 1, "settings": dict.fromkeys(SETTINGS, 0)},
            r"more\); remove it, to train this run",
        ),
    ],
)
def test_a_dictionary_of_another_run_is_refused_by_what_differs(tmp_path, changed, message):
    model, config = leave(tmp_path / "a", FACTS)
    dropped, _ = leave(tmp_path / "b", FACTS | changed)
    dropped.replace(model)
    with pytest.raises(ValueError, match=rf"a/model\.safetensors: is of another run: .*{message}"):
        check_origin(model, config, SETTINGS, 0)


def test_a_whole_folder_of_another_run_is_refused_too(tmp_path):
    files = leave(tmp_path / "a", FACTS | {"settings": {**SETTINGS, "lr": 0.1}})
    with pytest.raises(ValueError, match=r"settings.lr is 0.1, but this run is to have 0.001"):
        check_origin(*files, SETTINGS, 0)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 10**5, "null"])
def test_what_stands_beside_it_has_to_be_what_a_training_leaves(tmp_path, content):
    model, config = leave(tmp_path / "a", json.loads(json.dumps(FACTS)))
    config.write_text(content)
    with pytest.raises(ValueError, match=r"a/(config\.json: cannot be read|model\.safetensors: is of another run)"):
        check_origin(model, config, SETTINGS, 0)
