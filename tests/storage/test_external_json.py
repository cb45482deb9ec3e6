"""Settings of other libraries are read by type; no value is mistaken for another type."""

import math

import pytest

from sdlcore.errors import SourceError
from sdlcore.storage.external_json import Settings, read_object


def test_a_whole_number_counts_however_json_writes_it():
    assert Settings("cfg.json", {"k": 64.0}).count("k") == 64
    assert Settings("cfg.json", {}).count("k", 32) == 32
    assert Settings("cfg.json", {"a": 1, "b": None}).counts("a", "b", "c") == {"a": 1}


NO_NUMBERS = (2.9, True, "3", None, math.nan, math.inf, 0, -1, [3], {})


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        *((lambda s: s.count("key"), value, "is .*, expected a whole number of at least 1$") for value in NO_NUMBERS),
        *(
            (lambda s: s.flag("key", False), value, "is .*, expected true or false")
            for value in ("false", "true", 0, 1, None, [])
        ),
        (lambda s: s.text("key"), 1, "is 1, expected text"),
        (lambda s: s.choice("key", ("none", "some"), "none"), "x", "is 'x', expected one of none, some"),
        (lambda s: s.section("key"), "\x1b[2J", r"is '\\x1b\[2J', expected an object"),
        (lambda s: s.number("key"), True, "is True, expected a finite number"),
    ],
)
def test_values_of_another_type_are_refused_by_file_and_key(read, value, message):
    with pytest.raises(SourceError, match=rf"^cfg\.json: part\.key {message}"):
        read(Settings("cfg.json", {"key": value}, "part."))


def test_a_missing_value_is_refused_by_file_and_key():
    with pytest.raises(SourceError, match=r"cfg\.json: lacks part\.key, text"):
        Settings("cfg.json", {}, "part.").text("key")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "contains a list, expected a JSON object"),
        (None, "no such file"),
    ],
)
def test_what_is_no_object_is_refused_by_its_file(text, message, tmp_path):
    if text is not None:
        (tmp_path / "cfg.json").write_text(text)
    with pytest.raises((SourceError, FileNotFoundError), match=rf"cfg\.json: {message}"):
        read_object(tmp_path / "cfg.json")
