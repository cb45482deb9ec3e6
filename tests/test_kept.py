"""Kept tables stay small and flat, and `resources/kept/README.md` explains each."""

from tests.conftest import REPOSITORY

KEPT = REPOSITORY / "resources/kept"


def test_the_readme_has_a_line_for_each_kept_table():
    lines = (KEPT / "README.md").read_text().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == sorted(path.stem for path in KEPT.glob("*.csv"))
    for row in rows:
        assert len(row) == 6, row
        assert all(row), row


def test_kept_tables_are_flat_and_small():
    files = [path for path in KEPT.rglob("*") if path.is_file()]
    assert {path.parent for path in files} == {KEPT}
    assert {path.suffix for path in files} == {".csv", ".md"}
    assert max(path.stat().st_size for path in files) < 200_000
    assert sum(path.stat().st_size for path in files) < 2_100_000
