"""The tables and the page of a benchmark run, also of one that fails or is ended half-way."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import machine, results, states, timing
from benchmarks.cases import groups
from benchmarks.results import BEGINS, ENDS, STEPS, by_processor, page, show, show_all, summary, to_csv, write


def step(library, ms, dtype="float32", **more):
    row = {
        **{"processor": "AMD AVX2", "library": library, "method": "topk", "batch": 1024, "dtype": dtype, "state": 64},
        **{"ms_per_step": ms},
    }
    row |= {"peak_mb": 500.0, "l0": 64.0, "probe_ms": 100.0, "probe_onednn_ms": 80.0, "probe_bfloat16_ms": 50.0}
    return row | {"ms_least": 0.9 * ms, "ms_most": 1.1 * ms, "rounds": 4, "steps": 4} | more


TIMES = [step("sdlcore", 200.0), step("sdlcore", 80.0, "bfloat16"), step("saelens", 1200.0), step("sparsify", 460.0)]
FACTS = {
    **{"date": "2026-01-01 00:00 UTC", "commit": "0123456ab", "minutes": 24.6, "load": 0.1, "cpu": "A Processor"},
    **{"flags": {"avx512_bf16": True, "amx_tile": False}, "cores": 2, "memory_gib": 23.6, "threads": 2},
    **{"versions": {"torch": "2.13.0", "sae-lens": "6.54.12"}, "python": "3.11.7", "system": "Linux", "partial": False},
    **{"arguments": "", "failed": {}, "finished": True},
}


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


def test_every_processor_has_a_separate_table_under_its_name(tmp_path):
    for name, ms in (("AMD AVX2", 200.0), ("Intel AMX", 100.0)):
        rows = [step("sdlcore", ms, processor=name), step("sparsify", 400.0, processor=name)]
        write(tmp_path / name.lower().replace(" ", "-"), rows, FACTS)
    write(tmp_path / "partial", TIMES, FACTS)
    text = by_processor(tmp_path, 1024)
    assert [line for line in text.splitlines() if line.startswith("**")] == ["**AMD AVX2**", "**Intel AMX**"]
    assert [row[-1] for row in cells(text, "topk")] == ["2.0", "4.0"]


@pytest.mark.parametrize(
    ("cpu", "flags", "name", "types"),
    [
        ("AMD EPYC", "avx2", "AMD AVX2", ["float32"]),
        ("AMD EPYC", "avx2 avx512f avx512_vnni", "AMD AVX-512 VNNI", ["float32", "int8"]),
        ("Intel(R) Xeon(R) Gold", "avx2 avx512f", "Intel AVX-512", ["float32"]),
        ("Intel(R) Xeon(R)", "avx2 avx512f amx_tile amx_bf16", "Intel AMX", ["float32", "bfloat16", "int8"]),
    ],
)
def test_a_processor_is_named_by_its_widest_instructions_and_timed_in_types_that_it_multiplies(cpu, flags, name, types):
    facts = machine.describe(f"model name : {cpu}\nflags : fpu {flags}\n")
    assert (machine.processor(facts), machine.dtypes(facts)) == (name, types)


def test_the_page_says_on_what_it_was_measured_and_what_fell_short():
    text = page(FACTS)
    assert all(fact in text for fact in ("A Processor", "2 cores", "amx_tile no", "sae-lens 6.54.12", "2026-01-01"))
    assert not any(warning in text for warning in ("Part of", "not finished", "failed"))
    failed = {"saelens float32: relu": "saelens: Traceback\n  a line\nMemoryError: none left\n"}
    text = page(FACTS | {"finished": False, "failed": failed, "partial": True, "arguments": "--only topk"})
    assert "`--only topk`" in text
    assert "had not finished" in text
    assert "- saelens float32: relu: MemoryError: none left\n" in text


def test_a_number_that_no_column_holds_is_refused():
    with pytest.raises(ValueError, match="surprise"):
        to_csv([{"surprise": 1}], STEPS)


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
