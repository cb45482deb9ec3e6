"""The history of ratios keeps every table, even if a later run replaced it."""

import subprocess

from benchmarks import history, results
from benchmarks.machine import WORTH_NAMING
from tests.benchmarks.test_results import FACTS, OURS, TIMES, page, step

RUN = {**FACTS, "flags": dict.fromkeys(WORTH_NAMING, False)}


def readme(**facts):
    return page(TIMES, [], {**RUN, **facts})


def test_ratios_are_a_peers_milliseconds_over_ours_in_float32_and_batches_of_1024():
    rows = [{key: str(value) for key, value in row.items()} for row in [*TIMES, step("saelens", 9.0, batch=4096)]]
    run = {"date": "2026-01-01 00:00", "commit": "0123456ab", "processor": "A", "method": "topk", "l0": "64"}
    expected = [{**run, "library": "saelens", "ratio": "6"}, {**run, "library": "sparsify", "ratio": "2.3"}]
    assert history.ratios(rows, readme(), "added") == expected
    without = readme().replace("- Commit: 0123456ab\n", "")
    assert {row["commit"] for row in history.ratios(rows, without, "added")} == {"added"}
    vnni = readme(cpu="AMD EPYC", flags={"avx2": True, "avx512f": True, "avx512_vnni": True, "amx_tile": False})
    assert {row["processor"] for row in history.ratios(rows, vnni, "")} == {"AMD AVX-512 VNNI"}


def test_an_earlier_run_stays_as_it_is_and_a_new_one_is_added():
    (old, *_) = history.ratios([{k: str(v) for k, v in row.items()} for row in TIMES], readme(), "")
    again, later = {**old, "ratio": "7", "commit": "another"}, {**old, "date": "2026-01-02 00:00"}
    assert history.merged([old], [[again], [later]]) == [old, later]


def test_a_replaced_table_is_read_from_git(monkeypatch, tmp_path):
    folder = tmp_path / "results/amd"
    monkeypatch.setattr(history, "RESULTS", folder.parent)

    def git(*arguments):
        names = ("-c", "user.name=tester", "-c", "user.email=tester@localhost")
        subprocess.run(["git", *names, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    for day in (1, 2, 3):
        rows = [*OURS, step("sparsify", 200.0 * day)]
        results.write(folder, rows, [], {**RUN, "date": f"2026-01-0{day} 00:00 UTC"})
        results.write(tmp_path / "results/partial", rows, [], {**RUN, "date": "2026-02-01 00:00 UTC"})
        if day < 3:
            git("add", "results/amd")
            git("commit", "--message", "Keep")
    entries = history.merged([], history.kept())
    assert [(row["date"], row["ratio"]) for row in entries] == [(f"2026-01-0{n} 00:00", str(n)) for n in (1, 2, 3)]


def test_every_committed_table_is_in_the_history():
    entries = results.read(history.HISTORY)
    for path in history.RESULTS.glob("*/steps.csv"):
        if path.parent.name != "partial":
            rows = history.ratios(results.read(path), path.with_name("README.md").read_text(), "")
            assert history.merged(entries, [rows]) == entries, f"{path.parent.name}: run python -m benchmarks.history"
    assert list(entries[0]) == list(history.COLUMNS)
