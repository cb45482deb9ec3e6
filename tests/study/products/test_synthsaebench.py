"""The table of SynthSAEBench's distribution."""

import json
from dataclasses import asdict

import pandas as pd
import pytest

from sdlcore.study.products.synthsaebench import SynthSAEBench
from tests.study.products import made


def test_the_benches_are_the_published_one_made_smaller():
    config = made.configuration(None, "synthsaebench")
    for name, quarters in (("synth_s", 2), ("synth_m", 1)):
        bench = config.source(name)
        assert bench.n == 16384 / 4**quarters
        assert bench.roots == 128 / 4**quarters
        assert bench.n_p == 768 / 2**quarters
        assert bench.run.n_q == bench.n / 4
    assert {cell.seed for cell in config.synthsaebench.cells(config)} == {0, 1, 2, 3, 4}


def test_it_has_a_row_a_run_and_intervals_for_people(tmp_path):
    config = made.alone(
        {
            "seeds": [0, 1, 2],
            "sources": {"synth": {"small": {"n": 64, "roots": 2, "depth": 1}}},
            "synthsaebench": {"runs": {"small": {"methods": ["topk", "acs"]}}},
        }
    )
    for cell in config.synthsaebench.cells(config):
        folder = tmp_path / config.files().run(cell)
        folder.mkdir(parents=True)
        metrics = dict.fromkeys(SynthSAEBench.columns, cell.seed / 2)
        (folder / "metrics.json").write_text(json.dumps({"run": asdict(cell), "metrics": metrics, "chance": {}}))
        atoms, settings = (",atoms", {}) if cell.method == "acs" else ("", {"n_q": 24})
        (folder / "history.csv").write_text(f"samples,seconds{atoms}\n100,{cell.seed}.5{',7' if atoms else ''}\n")
        (folder / "config.json").write_text(json.dumps({"settings": settings}))
    files = made.make(config, "synthsaebench", tmp_path)
    rows = pd.read_csv(tmp_path / files.table("synthsaebench"))
    assert list(rows) == ["source", "method", "seed", *SynthSAEBench.columns, "latents", "samples", "seconds"]
    assert rows["latents"].tolist() == [24] * 3 + [7] * 3
    text = (tmp_path / files.table("synthsaebench", "md")).read_text()
    assert text.startswith(SynthSAEBench.caption)
    cells = [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")]
    # 0, .5 and 1: the t interval of three seeds is 4.303 standard errors to either side
    assert cells[:4] == ["small", "ACS", "3", f"0.500 ± {4.3027 * 0.5 / 3**0.5:.3f}"]
    assert cells[-3:] == ["7", "100", "1.5"]
    assert float(cells[-1]) == pytest.approx(1.5)
