"""Verdicts, made from files on disk."""

import pandas as pd

from sdlstudy.products.verdicts import Verdicts
from sdlstudy.results.tables import read_csv, write_csv
from sdlstudy.verdicts import claim_rule, judging, markup
from tests.sdlstudy.products import studies
from tests.sdlstudy.verdicts.synthetic import CLAIMS, evidence, papers_configuration, papers_numbers, papers_runs
from tests.sdlstudy.verdicts.test_claims import summary


def test_they_compare_runs_of_tables_and_figure_6_with_the_papers_tables(tmp_path):
    config, runs, figure6 = papers_configuration(), papers_runs(seeds=(0, 1)), summary()
    files = config.files(studies.PAPER)
    for table, rows in runs.items():
        write_csv(tmp_path / files.table(f"{table}_runs"), rows)
    write_csv(tmp_path / files.table("figure6"), figure6)
    studies.make(config, "verdicts", tmp_path)
    by = evidence(runs, figure6)
    for name, expected in (
        ("verdicts", judging.verdicts(papers_numbers(), by)),
        ("claims", claim_rule.claims(papers_numbers(), by, CLAIMS)),
    ):
        write_csv(tmp_path / "expected.csv", expected)
        assert (tmp_path / files.table(name)).read_text() == (tmp_path / "expected.csv").read_text()
    claimed = read_csv(tmp_path / files.table("claims"))
    assert claimed.set_index("claim").loc["resampling_loss", "verdict"] == claim_rule.HOLDS
    judged = read_csv(tmp_path / files.table("verdicts"))
    assert judged["verdict"].isin([judging.REPRODUCED, judging.INCONSISTENT]).all()
    assert (tmp_path / files.table("verdicts", "md")).read_text() == markup.verdicts_markdown(judged)
    assert len((tmp_path / files.table("claims", "md")).read_text()) > 1000


def test_without_figure_6_no_run_is_resampled(tmp_path):
    config = studies.alone({"tables": {"table4": studies.configuration().tables["table4"].model_dump()}})
    files = config.files(studies.PAPER)
    write_csv(tmp_path / files.table("table4_runs"), papers_runs(seeds=(0,))["table4"].assign(source="lrb"))
    studies.make(config, "verdicts", tmp_path)
    judged = pd.read_csv(tmp_path / files.table("verdicts"))
    assert judged["verdict"].eq(judging.NOT_RUN).all()
    assert judged.loc[judged["table"] == "table4", "reason"].str.contains("n is 128, the paper's").all()
    claimed = pd.read_csv(tmp_path / files.table("claims")).set_index("claim")
    assert claimed.loc["resampling_loss", "reason"] == "no runs of Figure 6"


def test_they_follow_from_the_tables_and_the_figure_that_are_judged():
    products = studies.configuration().products()
    product = Verdicts.of(products)
    assert product.tables == ["table1", "table2", "table4", "table5", "table6", "table7"]
    assert product.figure6 == products["figure6"]
    assert Verdicts.of({name: products[name] for name in ("table3", "figure4", "figure6", "solvers")}) is None
    assert "verdicts" not in studies.alone({"tables": {"table3": {"source": "lrb"}}}).products()
