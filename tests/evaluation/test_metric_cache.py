import json

import pytest

from sdlcore.evaluation.metric_cache import finished_metrics
from sdlcore.storage.checksums import with_checksum
from sdlcore.storage.files import write_json

FACTS = {"code": "c", "inputs": {"model": "m", "anchors": None}, "versions": {"torch": "2"}}


def leave(folder, **changes):
    content = {"run": {"source": "lrb", "seed": 3}, "metrics": {"fvu": 0.1}, "provenance": FACTS} | changes
    write_json(folder / "metrics.json", with_checksum(content))
    return folder / "metrics.json"


def find(tmp_path):
    return finished_metrics(str(tmp_path / "*"), "metrics.json", FACTS, 3)


def test_finished_metrics_do_not_depend_on_the_runs_name(tmp_path):
    (tmp_path / "empty").mkdir()
    leave(tmp_path / "one", run={"source": "lrb", "seed": 4})
    leave(tmp_path / "two", run={"source": "other", "seed": 3})
    assert find(tmp_path)["run"]["source"] == "other"


@pytest.mark.parametrize("change", [{"code": "d"}, {"inputs": {"model": "m"}}, {"hierarchy": None}])
def test_metrics_of_another_provenance_are_not_reused(tmp_path, change):
    leave(tmp_path / "one", provenance=FACTS | change)
    assert find(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"provenance": null, "run": {}}'])
def test_what_is_no_metrics_file_is_passed_over(tmp_path, text):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/metrics.json").write_text(text)
    leave(tmp_path / "two")
    assert find(tmp_path)["metrics"] == {"fvu": 0.1}


def test_damaged_metrics_and_those_without_a_checksum_are_not_reused(tmp_path):
    path = leave(tmp_path / "one")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"metrics": {"fvu": 0.2}}))
    assert find(tmp_path) is None
    del content["crc32"]
    path.write_text(json.dumps(content))
    assert find(tmp_path) is None
