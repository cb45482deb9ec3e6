"""The benchmark of the guide to L0."""

import pandas as pd
import pytest

from benchmarks.l0_guide import CASES, measure, minima


def test_a_case_is_measured_for_each_k_and_its_minima_are_those_of_its_rows(monkeypatch):
    case = CASES["plain"]
    assert case.l0 == pytest.approx(3.84)
    monkeypatch.setitem(CASES, "plain", case._replace(ks=(2, 4)))
    rows = pd.DataFrame(measure("plain", 128, 0, steps=5))
    assert rows["k"].tolist() == [2, 4]
    assert rows[["projection_eighth", "cosine", "decoder_mip"]].notna().all().all()
    (minimum,) = minima(rows).to_dict("records")
    assert minimum["cosine"] == rows.loc[rows["cosine"].idxmin(), "k"]
    assert minimum["decoder_mip"] == rows.loc[rows["decoder_mip"].idxmax(), "k"]
