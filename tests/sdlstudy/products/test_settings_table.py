"""Table 3, made from a configuration."""

import pandas as pd

from tests.sdlstudy.products import studies


def test_the_settings_of_a_bench_stand_beside_the_papers(tmp_path):
    config = studies.alone({"name": "trial", "tables": {"table3": {"source": "lrb"}}})
    files = studies.make(config, "table3", tmp_path)
    table = pd.read_csv(tmp_path / files.table("table3"), dtype=str)
    assert table.to_numpy().tolist() == [
        ["Number of features", "n", "1000", "128"],
        ["Representation dimension", "n_p", "768", "96"],
        ["Superposition ratio", "n/n_p", "1.3", "1.333"],
        ["Number of samples", "N", "100000", "20000"],
        ["Sparsity level", "S", "0.99", "0.97"],
        ["Maximum interference", "M", "0.1", "0.2"],
    ]
    product = config.products()["table3"]
    assert product.text({"": pd.read_csv(tmp_path / files.table("table3"))}, config).frame["paper"][0] == "1000"
    assert (tmp_path / files.table("table3", "md")).read_text().startswith(config.tables["table3"].caption)
    assert r"\label{tab:table3}" in (tmp_path / files.table("table3", "tex")).read_text()
