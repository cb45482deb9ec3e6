"""The table of language scores."""

import json
from dataclasses import asdict

from sdlcore.inside.loss import LossRecovered
from sdlstudy.results.tables import read_csv
from tests.sdlstudy.products import studies

ASKED = {"language_scores": {"runs": {"smollm2": {"methods": ["topk_real", "batchtopk_real"]}}}}


def test_each_run_has_a_row_and_each_method_means_with_intervals(tmp_path):
    config = studies.alone({"seeds": [0, 1, 2], **ASKED})
    files, losses = config.files(), {}
    for cell in config.language_scores.cells(config):
        (tmp_path / files.run(cell)).mkdir(parents=True)
        metrics = {"run": asdict(cell), "metrics": {"l0": 8.0, "fvu": 0.25}, "chance": {}}
        (tmp_path / files.metrics(cell)).write_text(json.dumps(metrics))
        loss = LossRecovered(*range(13))._replace(kl_recovered_mean=cell.seed / 2, recovered_zero=None)
        losses[files.model(cell)] = loss._asdict()
    path = tmp_path / files.language_losses("smollm2")
    path.parent.mkdir()
    path.write_text(json.dumps({"losses": losses}))
    files = studies.make(config, "language_scores", tmp_path)
    rows = read_csv(tmp_path / files.table("language_scores"))
    assert list(rows) == ["source", "method", "seed", "l0", "fvu", *LossRecovered._fields]
    assert rows["kl_recovered_mean"].tolist() == [0, 0.5, 1] * 2
    text = (tmp_path / files.table("language_scores", "md")).read_text()
    assert "Zero ablation replaces the activations by zero, mean ablation by their mean" in text
    cells = [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")]
    assert cells[:4] == ["smollm2", "BatchTopK SAE", "3", "8.0 ± 0.0"]
    # of 0, .5 and 1, the t interval of three seeds is 4.303 standard errors to either side
    assert cells[-1] == f"0.500 ± {4.3027 * 0.5 / 3**0.5:.3f}"
    assert cells[7] == "–"
