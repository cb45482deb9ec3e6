"""Odd phrases are found in prose and nowhere else, and their number may only fall."""

import json

import pytest

from tests.dialect import PATTERNS, count, files, main, phrases, texts

EXAMPLES = {
    "what is ...": ("Return what is found.", "Ask what happened."),
    "those of ...": ("Entries with those of others", "Those entries"),
    "is of ...": ("The error is of another run", "This is of course a run"),
    "of which": ("entries of which there are many", "entries which differ"),
    "a thing has": ("each row has k entries", "TopK has k entries"),
    "a thing says": ("The page says how", "The page explains how"),
    "stands, lies": ("It stands in the file", "It stands up"),
    "one without a noun": ("none of them is", "no entry is"),
    "by the way": ("rows in the place of rows", "rows in place"),
    "so that ... so that": ("so that a, so that b", "so that a. So that b"),
    "there is no other": ("it hangs on this", "it depends on this"),
}


@pytest.mark.parametrize("kind", PATTERNS)
def test_each_pattern_finds_its_kind(kind):
    odd, plain = EXAMPLES[kind]
    assert list(phrases(odd))
    assert not list(phrases(plain))


SOURCE = '''
"""A docstring that says what a function of ours does."""
x = "short, says"  # a comment that says why
what = tells = asks = "a message of more than thirty letters that tells a lot"
f"a text with a value {x!r} in it, about which a message asks"
1 + 1  # and
'''


def test_prose_of_sources_and_pages_is_read_and_code_is_not(tmp_path):
    (tmp_path / "a.py").write_text(SOURCE)
    assert [line for line, _ in texts(tmp_path / "a.py")] == [2, 3, 4, 5, 6]
    (tmp_path / "a.md").write_text("It says\n```\nit says\n```\n`it says` and knows\n")
    (tmp_path / "results").mkdir()
    (tmp_path / "results/b.md").write_text("It says")
    (tmp_path / "results/b.py").write_text("# says")
    assert files(tmp_path) == [tmp_path / "a.md", tmp_path / "a.py", tmp_path / "results/b.py"]
    assert count(tmp_path / "a.md")[0] == 2
    (tmp_path / "c.smk").write_text("# what is this\nrule a:\n    output: 'x'\n")
    assert count(tmp_path / "c.smk")[0] == 1


def test_a_count_may_fall_and_not_rise(tmp_path, capsys):
    counts = tmp_path / "counts.json"
    counts.write_text('{"docs": 2}')
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs/a.md"
    for text, risen in (("It says, tells", 0), ("It says, tells, asks", 1), ("It says", 0)):
        page.write_text(text)
        assert main([], tmp_path, counts) == risen
        assert ("rewrite the new phrases" in capsys.readouterr().err) == bool(risen)
    assert json.loads(counts.read_text()) == {"docs": 2}
    assert main(["--lower"], tmp_path, counts) == 0
    assert json.loads(counts.read_text()) == {"docs": 1}
    page.write_text("It says, tells")
    assert main(["--lower"], tmp_path, counts) == 1
    assert json.loads(counts.read_text()) == {"docs": 1}
    assert "docs: 2 odd phrases in 3 words, 666.7 a thousand; tests/dialect.json has 1" in capsys.readouterr().out


def test_phrases_are_listed_with_their_place_for_any_path(tmp_path, capsys):
    (tmp_path / "counts.json").write_text("{}")
    (tmp_path / "a.md").write_text("\nThe page says so.\n")
    assert main(["--list", str(tmp_path / "a.md")], tmp_path, tmp_path / "counts.json") == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'a.md'}:2: The page says so.\n")
