import json

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.conftest import REPOSITORY
from tests.same import settings
from tests.same.comparing import differences, outputs_of
from tests.same.versions import configurations


@pytest.fixture
def results(tmp_path):
    """Write one file of each kind; seconds and provenance depend on the number of the version."""

    def write(version, weight=1.0, score=0.5):
        folder = tmp_path / str(version)
        folder.mkdir()
        metadata = {"sdlcore": json.dumps({"model": {"k": 4}, "provenance": {"code": f"code {version}"}})}
        save_file({"W": np.array([weight])}, folder / "model.safetensors", metadata)
        (folder / "metrics.json").write_text(json.dumps({"metrics": {"fvu": score}, "provenance": {"code": version}}))
        (folder / "history.csv").write_text(f"step,seconds,loss\n1,{version}.5,{score}\n")
        (folder / "table.md").write_text(f"| fvu |\n|---|\n| {score} |\n")
        (folder / "report.html").write_text(f"made in {version} seconds")
        with h5py.File(folder / "train.h5", "w") as file:
            file.attrs["provenance"] = json.dumps({"code": version})
            file["x"] = np.array([weight])
        return outputs_of(folder)

    return write


def test_provenance_and_durations_are_no_difference(results):
    assert list(differences(results(1), results(2))) == []


def test_the_last_bit_of_a_weight_is_a_difference_in_models_and_stores(results):
    lines = list(differences(results(1), results(2, weight=np.nextafter(1.0, 2))))
    assert [line.split(":")[0] for line in lines] == ["model.safetensors", "train.h5"]


def test_a_metric_that_differs_is_named_by_file_and_key(results):
    lines = list(differences(results(1), results(2, score=0.6)))
    assert "metrics.json: metrics: fvu: 0.5 became 0.6" in lines
    assert [line.split(":")[0] for line in lines] == ["history.csv", "metrics.json", "table.md"]


@pytest.mark.parametrize("row", [1, 2])
def test_a_cell_of_a_printed_table_that_differs_is_named_by_row_and_column(tmp_path, row):
    text = ["A caption.", "", "| fvu | l0 | fvu |", "|--|--|--|", "| 1 | 2 | 3 |", "| 4 | 5 | 6 |"]
    (tmp_path / "table.md").write_text("\n".join(text))
    before = outputs_of(tmp_path)
    text[3 + row] = text[3 + row][:-3] + "7 |"
    (tmp_path / "table.md").write_text("\n".join(text))
    old = 3 * row
    assert [*differences(before, outputs_of(tmp_path))] == [f"table.md: row {row - 1}: fvu (2): '{old}' became '7'"]


def test_configurations_are_found_in_subfolders_and_files_without_a_name_are_no_configurations(tmp_path):
    for path, text in {"a": "name: a", "deep/b": "name: b", "deep/c": "methods: {}"}.items():
        file = tmp_path / f"config/{path}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert {name: path.stem for name, path in configurations(tmp_path).items()} == {"a": "a", "b": "b"}
    assert {"quick", "tiny", "streams"} <= configurations(REPOSITORY).keys()


@pytest.mark.parametrize("name", settings.KEPT)
def test_runs_of_kept_configurations_have_the_saved_settings(name):
    assert [*differences(settings.read(name), settings.resolve(settings.load(name)))] == []


def test_files_that_come_and_go_are_differences(results):
    before, after = results(1), results(2)
    del after["metrics.json"]
    after["new.json"] = {}
    assert list(differences(before, after)) == ["metrics.json is missing", "new.json is new"]
