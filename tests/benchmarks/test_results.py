"""The page and the tables of a benchmark run."""

import csv

import pytest

from benchmarks import __main__ as command
from benchmarks.machine import describe, dtypes, processor
from benchmarks.results import (
    BEGINS,
    RECOVERY,
    STEPS,
    by_processor,
    page,
    race_summary,
    read,
    show_all,
    summary,
    to_csv,
    write,
)
from benchmarks.shown import ENDS, show


def step(library, ms, dtype="float32", **more):
    row = {
        **{"processor": "AMD AVX2", "library": library, "method": "topk", "batch": 1024, "dtype": dtype, "state": 64},
        **{"ms_per_step": ms},
    }
    row |= {"peak_mb": 500.0, "l0": 64.0, "probe_ms": 100.0, "probe_onednn_ms": 80.0, "probe_bfloat16_ms": 50.0}
    return row | {"ms_least": 0.9 * ms, "ms_most": 1.1 * ms, "rounds": 4, "steps": 4} | more


def raced(library, lr, seconds, reached, final, threshold=0.9):
    row = {"library": library, "lr": lr, "seed": 0, "threshold": threshold, "seconds": seconds, "steps": 100}
    row |= {"reached": reached, "final_recovery": final}
    return row | {"dtype": "float32", "optimizer": "adam", "rule": "default"}


OURS = [
    step("sdlcore", 200.0, peak_mb=440.0, budget_mb=400.0, peak_to_budget=1.1),
    step("sdlcore", 80.0, "bfloat16", peak_mb=420.0, budget_mb=400.0, peak_to_budget=1.05),
    step("sdlcore", 60.0, "int8", peak_mb=400.0, budget_mb=400.0, peak_to_budget=1.0),
]
TIMES = [*OURS, step("saelens", 1200.0), step("saelens", 600.0, "bfloat16"), step("sparsify", 460.0)]
RACE = [
    raced("sdlcore", 1e-3, 20.0, True, 1.0),
    raced("saelens", 3e-4, 60.0, False, 0.1),
    raced("saelens", 1e-3, 130.0, True, 0.995),
    raced("sparsify", 5e-3, 60.0, False, 0.2),
    raced("sparsify", 1e-3, 40.0, False, 0.8),
]
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


def test_ratios_are_the_peers_time_over_ours_and_ours_over_the_dense_product():
    ratios, times, memory = cells(page(TIMES, [], FACTS), "topk")
    # saelens, dictionary_learning (not measured) and sparsify: by ours, in each type; saelens' bfloat16 by ours
    of_saelens, of_dictionary_learning, of_sparsify = ["6.00", "15.00", "20.00"], [""] * 3, ["2.30", "5.75", "7.67"]
    products = ["2.00", "2.50", "1.60", "1.20"]
    assert ratios[3:] == [*of_saelens, *of_dictionary_learning, *of_sparsify, "7.50", *products]
    assert times[3:] == ["200", "80", "60", "1200", "", "460", "600", "100", "80", "50"]
    assert memory[3:] == ["440", "420", "400", "500", "", "500", "500", "1.10", "1.05", "1.00"]


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
    assert cells(summary([row | {"method": "lista"} for row in OURS], 1024), "lista") == []  # no peer has it
    page_of_speed.write_text("no place")
    with pytest.raises(ValueError, match="nothing between"):
        show(page_of_speed, begins, summary(TIMES, 1024))
    assert page_of_speed.read_text() == "no place"


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
        write(tmp_path / name.lower().replace(" ", "-"), rows, [], FACTS)
    write(tmp_path / "partial", TIMES, RACE, FACTS)
    text = by_processor(tmp_path, lambda folder: summary(read(folder / "steps.csv"), 1024))
    assert [line for line in text.splitlines() if line.startswith("**")] == ["**AMD AVX2**", "**Intel AMX**"]
    assert [row[-1] for row in cells(text, "topk")] == ["2.0", "4.0"]
    # neither processor ran a race
    assert by_processor(tmp_path, lambda folder: race_summary(read(folder / "recovery.csv"))) == ""


@pytest.mark.parametrize(
    ("cpu", "has", "name"),
    [
        ("AMD EPYC", ["avx2"], "AMD AVX2"),
        ("AMD EPYC", ["avx2", "avx512f", "avx512_vnni"], "AMD AVX-512 VNNI"),
        ("Intel(R) Xeon(R) Gold", ["avx2", "avx512f"], "Intel AVX-512"),
        ("Intel(R) Xeon(R) Platinum", ["avx2", "avx512f", "avx512_vnni", "amx_tile"], "Intel AMX"),
    ],
)
def test_a_processor_is_named_by_its_maker_and_its_widest_instructions(cpu, has, name):
    assert processor(describe(f"model name : {cpu}\nflags : {' '.join(has)}\n")) == name


def test_the_race_shows_the_better_learning_rate_as_it_is_and_as_it_is_read_back(tmp_path):
    (tmp_path / "recovery.csv").write_text(to_csv(RACE, RECOVERY))
    for rows in (RACE, read(tmp_path / "recovery.csv")):
        (ours,), (saelens,) = (cells(race_summary(rows), name) for name in ("ours", "saelens"))
        assert ours == ["ours", "20.0", "100", "0.001"]
        assert saelens == ["saelens", "130.0", "100", "0.001"]


def test_recovery_is_a_librarys_best_learning_rates_and_names_the_others():
    text = page([], RACE, FACTS)
    ((ours,), (saelens,), (sparsify,)) = (cells(text, name) for name in ("sdlcore", "saelens", "sparsify"))
    assert ours[1:4] == ["0.9", "20.0", "100"]
    assert saelens[2] == "130.0"
    assert saelens[4].startswith("0.001")
    assert saelens[6] == "0.0003, adam: 0.100 when stopped after 60.0 s"
    assert sparsify[2] == "not reached (0.800) after 40.0"


def test_the_page_says_on_what_and_with_what_it_was_measured():
    text = page(TIMES, RACE, FACTS)
    for sentence in (
        *("A Processor", "2 cores", "avx512_bf16 yes", "amx_tile no", "Threads: 2", "sae-lens 6.54.12", "2026-01-01"),
    ):
        assert sentence in text
    assert "do not edit" in text
    assert "Part of" not in text
    assert "`--only topk`" in page(TIMES, [], {**FACTS, "partial": True, "arguments": "--only topk"})


def test_the_page_of_a_run_that_fell_short_says_so():
    failed = {"saelens float32: relu": "saelens: Traceback\n  a line\nMemoryError: none left\n"}
    text = page(TIMES, [], {**FACTS, "finished": False, "failed": failed})
    assert "had not finished" in text
    assert "- saelens float32: relu: MemoryError: none left\n" in text
    assert "not finished" not in page(TIMES, [], FACTS)
    assert "failed" not in page(TIMES, [], FACTS)


def test_tables_are_written_whole_with_their_columns_in_order(tmp_path):
    write(tmp_path, TIMES, RACE, FACTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "recovery.csv", "steps.csv"]
    with (tmp_path / "steps.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0])[:6] == ["processor", "library", "method", "batch", "dtype", "ms_per_step"]
    assert float(read[0]["peak_to_budget"]) == pytest.approx(1.1)
    assert read[3]["budget_mb"] == ""
    with (tmp_path / "recovery.csv").open(newline="") as file:
        raced_rows = list(csv.DictReader(file))
    assert list(raced_rows[0]) == list(RECOVERY)
    assert [row["reached"] for row in raced_rows] == ["true", "false", "true", "false", "false"]


def test_a_number_that_no_column_holds_is_refused():
    with pytest.raises(ValueError, match="surprise"):
        to_csv([{"surprise": 1}], STEPS)


def test_a_machine_is_described_by_what_matters_to_products():
    facts = describe("model name\t: A Processor\nflags\t\t: fpu avx2 avx512_bf16 amx_tile\n")
    assert facts["cpu"] == "A Processor"
    assert [flag for flag, has in facts["flags"].items() if has] == ["avx2", "avx512_bf16", "amx_tile"]
    assert facts["cores"] >= 1


@pytest.mark.parametrize(
    ("flags", "multiplied"),
    [
        ("avx2", ["float32"]),
        ("avx2 avx512f avx512_vnni", ["float32", "int8"]),
        ("avx2 avx512f avx512_vnni avx512_bf16", ["float32", "bfloat16", "int8"]),
        ("avx2 avx512f amx_tile amx_bf16", ["float32", "bfloat16", "int8"]),
    ],
)
def test_types_without_matching_instructions_are_not_timed(flags, multiplied):
    assert dtypes(describe(f"model name : A Processor\nflags : {flags}\n")) == multiplied
