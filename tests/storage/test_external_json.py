"""Settings of other libraries are read by type; no value is mistaken for another type."""

import math
import re

import pytest

from sdlcore.errors import SourceError
from sdlcore.storage.external_json import Settings, read_object


@pytest.mark.parametrize("value", [2.9, True, "3", None, math.nan, math.inf, 0, -1, [3], {}])
def test_what_is_no_whole_number_is_refused_by_file_and_key(value):
    with pytest.raises(SourceError, match=r"^cfg\.json: trainer\.k is .*, expected a whole number of at least 1$"):
        Settings("cfg.json", {"k": value}, "trainer.").count("k")


def test_a_whole_number_counts_however_json_writes_it():
    assert Settings("cfg.json", {"k": 64.0}).count("k") == 64
    assert Settings("cfg.json", {}).count("k", 32) == 32
    assert Settings("cfg.json", {"a": 1, "b": None}).counts("a", "b", "c") == {"a": 1}


@pytest.mark.parametrize("value", ["false", "true", 0, 1, None, []])
def test_only_true_and_false_are_flags(value):
    with pytest.raises(SourceError, match=r"cfg\.json: flag is .*, expected true or false"):
        Settings("cfg.json", {"flag": value}).flag("flag", False)


def test_texts_choices_numbers_and_sections_are_of_their_type():
    settings = Settings("cfg.json", {"a": 1, "b": "x", "c": "\x1b[2J", "d": True})
    with pytest.raises(SourceError, match=r"cfg\.json: a is 1, expected text"):
        settings.text("a")
    with pytest.raises(SourceError, match=r"cfg\.json: b is 'x', expected one of none, some"):
        settings.choice("b", ("none", "some"), "none")
    with pytest.raises(SourceError, match=r"cfg\.json: c is '\\x1b\[2J', expected an object"):
        settings.section("c")
    with pytest.raises(SourceError, match=r"cfg\.json: d is True, expected a finite number"):
        settings.number("d")
    with pytest.raises(SourceError, match=r"cfg\.json: lacks e, text"):
        settings.text("e")


def test_a_file_names_each_key_once_and_holds_an_object(tmp_path):
    file = tmp_path / "cfg.json"
    for text, message in (
        ('{"k": 1, "a": {"k": 2, "k": 3}}', "contains the key k twice"),
        ("[]", "contains a list, expected a JSON object"),
    ):
        file.write_text(text)
        with pytest.raises(SourceError, match=rf"{re.escape(str(file))}: {message}"):
            read_object(file)
    with pytest.raises(FileNotFoundError, match=r"test_\w+: no such file"):
        read_object(tmp_path)
