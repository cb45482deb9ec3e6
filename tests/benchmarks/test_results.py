"""The tables and the page of a benchmark run, also of one that fails or is ended half-way."""

import pytest

from benchmarks import __main__ as command
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
