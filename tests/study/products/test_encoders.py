"""The table of encoders that can be read."""

import json
from dataclasses import asdict

import pandas as pd

from sdlcore.study.products.encoders import Encoders
from tests.study.products import made


def test_it_has_a_row_a_run_and_a_finer_error_for_people(tmp_path):
    config = made.alone({"seeds": [0, 1], "encoders": {"runs": {"lrb": {"methods": ["topk"]}}}})
    for cell in config.encoders.cells(config):
        path = tmp_path / config.files().metrics(cell)
        path.parent.mkdir(parents=True)
        metrics = dict.fromkeys(Encoders.columns, cell.seed / 2)
        path.write_text(json.dumps({"run": asdict(cell), "metrics": metrics, "chance": {}}))
    files = made.make(config, "encoders", tmp_path)
    rows = pd.read_csv(tmp_path / files.table("encoders"))
    assert list(rows) == ["source", "method", "seed", *Encoders.columns]
    text = (tmp_path / files.table("encoders", "md")).read_text()
    assert text.startswith(Encoders.caption)
    cells = [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")]
    assert cells == ["lrb", "TopK SAE", "2", *["0.250"] * 6, "0.2500", "0.2"]


def test_its_configuration_asks_for_it():
    config = made.configuration(None, "encoders")
    assert config.encoders.cells(config)
