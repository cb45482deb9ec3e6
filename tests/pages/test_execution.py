"""What pages tell people to type works: a sample here, all of it marked `pages`."""

import importlib.util
import re

import pytest

from tests.conftest import REPOSITORY
from tests.pages.blocks import NOT_EXECUTED, Block, blocks, pages
from tests.pages.execution import MODEL, Session

PAGES = [page for page in pages() if blocks(page)]
EXECUTED = [page for page in PAGES if any(b.language in ("python", "sh") and not b.needs for b in blocks(page))]
PLANNED = [page for page in PAGES if any(b.language == "sh" and b.needs for b in blocks(page))]
MISSING = set() if importlib.util.find_spec("snakemake_executor_plugin_slurm") else {"slurm"}
"""Files that a plan needs, and that are missing here; `test_commands_can_be_parsed` reads these blocks."""


def name(page):
    return str(page.relative_to(REPOSITORY))


@pytest.fixture
def session(tmp_path, monkeypatch, registry):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    session = Session(tmp_path)
    session.write_activations()
    return session


def same(output: str, page: str) -> bool:
    """Whether two texts have equal words, and numbers that differ by .02 or 5 % at most."""
    pairs = list(zip(output.split(), page.split(), strict=False))
    return len(output.split()) == len(page.split()) and all(_same_word(*pair) for pair in pairs)


def _same_word(actual: str, expected: str) -> bool:
    try:
        return float(actual) == pytest.approx(float(expected), rel=0.05, abs=0.02)
    except ValueError:
        number = r"\d+\.\d+"
        alike = re.sub(number, "", actual) == re.sub(number, "", expected)
        pairs = zip(re.findall(number, actual), re.findall(number, expected), strict=False)
        return alike and all(float(a) == pytest.approx(float(b), rel=0.05, abs=0.02) for a, b in pairs)


def execute(session: Session, page_blocks: list[Block]) -> int:
    """Execute blocks in order, compare their output with the page, and return the number of executed blocks."""
    number = 0
    if any("models/my-llama" in block.code or MODEL in block.code for block in page_blocks):
        session.write_language_model()
    printed = ""
    for block in page_blocks:
        if block.prints:
            assert same(printed, block.code), f"{block.where}: printed\n{printed}"
        elif not block.needs and block.language not in NOT_EXECUTED:
            printed, number = session.run(block), number + 1
    return number


def test_the_ten_lines_of_the_readme_find_the_features(session):
    import matplotlib.pyplot as plt

    (first, *_) = [block for block in blocks(REPOSITORY / "README.md") if block.language == "python"]
    assert len(first.code.strip().splitlines()) <= 10
    session.run(first)
    assert session.names["scores"]["gt_recovery_decoder"] >= 0.99
    samples = session.names["scores"].nulls["samples"]
    assert (
        f"columns match {100 * samples['gt_recovery_decoder']:.0f} % of them" in (REPOSITORY / "README.md").read_text()
    )
    assert samples["fvu"] > 1
    assert plt.gcf().axes
    assert (session.folder / "topk.safetensors").is_file()
    plt.close("all")


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) < 150


@pytest.mark.pages
@pytest.mark.parametrize("page", EXECUTED, ids=name)
def test_blocks_run(page, session, monkeypatch):
    if "examples" in page.parts:  # its reader is in the example's folder
        monkeypatch.syspath_prepend(page.parent)
    expected = [b for b in blocks(page) if not (b.needs or b.prints or b.language in NOT_EXECUTED)]
    assert execute(session, blocks(page)) == len(expected)


@pytest.mark.pages
@pytest.mark.parametrize("page", PLANNED, ids=name)
def test_commands_that_need_more_are_planned(page, session):
    if any("models/my-llama" in block.code for block in blocks(page)):
        session.write_language_model()
    planned = 0
    for block in blocks(page):
        if block.language == "yaml" or (block.language == "python" and block.file):
            session.write(block)
        elif block.language == "sh" and block.needs and not MISSING.intersection(block.needs):
            session.plan(block)
            planned += 1
    assert planned or MISSING.intersection(marker for block in blocks(page) for marker in block.needs)
