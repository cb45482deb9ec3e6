"""`snakemake explain`: the search for the paper's protocol, with two protocols of forty steps."""

import pandas as pd
import pytest

from sdlcore.study.explain.protocols import Protocol, write_protocols

STAGES = {
    "one": {"protocols": "few.csv", "rows": ["topk", "topk+"]},
    "two": {"protocols": "few.csv", "rows": ["topk+"], "table": "table7", "fixed": "one"},
}
CHANGE = {"explain": {"stages": STAGES}}


@pytest.mark.slow
def test_stages_are_trained_and_shown(checkout):
    write_protocols(checkout.path / "few.csv", [Protocol(steps=40), Protocol(steps=40, tied=True)])
    checkout.snakemake("explain", change=CHANGE)
    assert checkout.plan("explain", change=CHANGE).jobs == []
    assert not checkout.plan(change=CHANGE).rules() & {"looks", "make_explain"}, "it takes hours, so it is asked for"
    tables = checkout.path / "results/tiny/tables"
    table = pd.read_csv(tables / "explain.csv")
    stages = sorted(zip(table["stage"], table["number"], table["numbers"], strict=True))
    assert stages == [("one", 0, 6), ("one", 1, 6), ("two", 0, 6), ("two", 1, 6)]
    assert table["distance"].between(0, 1).all()
    looks = pd.read_csv(tables / "explain_two.csv")
    assert set(looks["anchored"]) == {True}
    assert looks.groupby("value")["l0_0"].first().to_dict() == {32: 8, 64: 16, 128: 32}
