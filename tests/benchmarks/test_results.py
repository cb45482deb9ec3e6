"""The tables and the page of a benchmark run, also of one that fails or is ended half-way."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import machine, results, states, timing
from benchmarks.cases import groups
from benchmarks.results import BEGINS, ENDS, show, show_all, summary


def step(library, ms, dtype="float32", **more):
    row = {
        **{"processor": "AMD AVX2", "library": library, "method": "topk", "batch": 1024, "dtype": dtype, "state": 64},
        **{"ms_per_step": ms},
    }
    row |= {"peak_mb": 500.0, "l0": 64.0}
    return row | {"ms_least": 0.9 * ms, "ms_most": 1.1 * ms, "rounds": 4, "steps": 4} | more


TIMES = [step("sdlcore", 200.0), step("sdlcore", 80.0, "bfloat16"), step("saelens", 1200.0), step("sparsify", 460.0)]


def cells(text, first):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(f"| {first} |")
    ]


def test_the_page_of_speed_gets_the_table_of_a_batch_size_and_nothing_else_changes(tmp_path):
    page_of_speed = tmp_path / "speed.md"
    begins, times = BEGINS[1024], [*TIMES, *(row | {"batch": 4096, "ms_per_step": 1e6} for row in TIMES)]
    page_of_speed.write_text(f"before\n{begins}\nold\n{ENDS}\nafter\n")
    show(page_of_speed, begins, summary(times, 1024))
    text = page_of_speed.read_text()
    assert text.startswith(f"before\n{begins}\n| method |")
    assert text.endswith(f"|\n{ENDS}\nafter\n")
    (row,) = cells(text, "topk")
    # the fastest peer is sparsify, with 460 ms
    assert row == ["topk", "64", "200", "1200", "", "460", "2.3"]
    assert cells(summary([row | {"method": "lista"} for row in TIMES[:2]], 1024), "lista") == []  # no peer has it
    page_of_speed.write_text("no place")
    with pytest.raises(ValueError, match="nothing between"):
        show(page_of_speed, begins, summary(TIMES, 1024))


def test_the_page_of_speed_shows_what_was_measured(tmp_path):
    text = (command.RESULTS.parents[1] / "docs/speed.md").read_text()
    page = tmp_path / "speed.md"
    page.write_text(text)
    show_all(command.RESULTS, page)
    assert page.read_text() == text
    assert "| topk | 64 |" in text


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command with a tiny bench, and a given function instead of the measurement of a group."""
    monkeypatch.setattr(states, "bench", lambda seed, n: states.Bench(np.eye(8, dtype=np.float32), np.zeros((9, 8))))
    monkeypatch.setattr(command, "LATENTS", 16)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")

    def run(measure, *arguments):
        monkeypatch.setattr(timing, "measure", measure)
        command.main(["--threads", "1", *arguments])

    return run


def measured(group, *failed):
    rows = [step("sdlcore", 200.0, method=group.method, batch=group.batch, state=group.state)]
    return rows, SimpleNamespace(versions={"torch": "2"}, failed=dict.fromkeys(failed, "it broke"))


def rows_in(folder):
    return [(row["method"], row["batch"]) for row in results.read(folder / "steps.csv")]


PART = ("--only", "topk", "relu", "--batch", "1024")


def test_rows_measured_before_the_end_are_stored(run, tmp_path):
    def measure(group, *_):
        if group.method == "relu":
            raise KeyboardInterrupt
        return measured(group)

    with pytest.raises(KeyboardInterrupt):
        run(measure, *PART)
    folder = tmp_path / "results/partial"
    assert rows_in(folder) == [("topk", "1024")]
    assert "had not finished" in (folder / "README.md").read_text()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("part", [(), PART])
def test_only_a_whole_run_replaces_another_and_updates_the_page(run, monkeypatch, tmp_path, part, fails):
    pages = []
    monkeypatch.setattr(results, "show_all", lambda folder, page: pages.append((folder, page.name)))
    if fails:
        with pytest.raises(SystemExit, match=r"these cases failed(?s:.*)a case"):
            run(lambda group, *_: measured(group, "a case"), *part)
    else:
        run(lambda group, *_: measured(group), *part)
    assert len(rows_in(tmp_path / "results/partial")) == (3 if part else len(list(groups())))
    whole = not part and not fails
    stored_table = tmp_path / "results" / machine.folder_of(machine.processor(machine.describe())) / "steps.csv"
    assert stored_table.exists() == whole
    assert pages == ([(tmp_path / "results", "speed.md")] if whole else [])
