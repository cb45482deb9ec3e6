"""The page on circuits says what its tables say, and the kept parts and ablations agree with each other."""

import csv

import pytest

from studies import KEPT
from tests.conftest import REPOSITORY


def percent(share: float, digits: int = 1) -> str:
    """Return a share in per cent as pages write it, ".5" without the nought."""
    text = f"{round(100 * share, digits):g}"
    return text.removeprefix("0") if text.startswith("0.") else text


def short(number: float, digits: int = 2) -> str:
    """Return a number as pages write it, without the nought of a number below 1."""
    text = f"{number:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(number) < 1 else text


def read(name):
    with (KEPT / f"circuits_{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def parts():
    return {row["part"]: row["value"] for row in read("parts")}


def test_parts_sum_to_the_logit_and_frozen_ablations_equal_edges(parts):
    assert float(parts["sum of the parts"]) == pytest.approx(float(parts["logit minus the mean"]), rel=1e-4)
    for row in read("ablations"):
        assert float(row["frozen_change"]) == pytest.approx(-float(row["edge"]), rel=1e-3)


def test_the_page_says_what_the_tables_say(parts):
    page = " ".join((REPOSITORY / "docs/inside-a-model.md").read_text().split())
    fvu = [float(row["fvu"]) for row in read("fvu")]
    logit, _ = ([float(row[name]) for name in ("edge", "frozen_change", "free_change")] for row in read("ablations"))
    named = ("features", "errors", "token embeddings", "decoder biases", "MLP outputs at the first token")
    shares = {name: short(float(parts[name])) for name in named}
    errors = float(parts["errors"]) / float(parts["logit minus the mean"])
    score = float(parts["replacement score"])
    for sentence in (
        f"minus the mean logit, {float(parts['logit minus the mean']):.2f}: features write {shares['features']} of it, "
        f"errors {shares['errors']}, token embeddings {shares['token embeddings']}, decoder biases "
        f"{shares['decoder biases']}, and MLP outputs at the first token {shares['MLP outputs at the first token']}",
        f"Errors are {percent(errors, 0)} % of the logit directly",
        f"{percent(1 - score, 0)} % of the influence comes from errors instead of tokens",
        f"(replacement score of {short(score)})",
        f"the FVU of the 30 layers is {short(min(fvu))} to {short(max(fvu))}",
        f"adds {logit[0]:.2f} to the logit",
        f"changes the logit by {logit[1]:.2f} if all else is frozen, and by {logit[2]:.2f} in the free model",
        f"{parts['circuit-tracer']} with TransformerLens {parts['transformer-lens']}",
        f"transformers {parts['transformers']}",
    ):
        assert sentence in page
