"""Settings of other libraries are read by type; no value is mistaken for another type."""

import math

import pytest

from sdlcore.errors import SourceError
from sdlcore.storage.external_json import Settings, read_object


def test_a_whole_number_counts_however_json_writes_it():
    assert Settings("cfg.json", {"k": 64.0}).count("k") == 64
    assert Settings("cfg.json", {}).count("k", 32) == 32


@pytest.mark.parametrize("value", [2.9, True, "3", None, math.nan, math.inf, 0, -1, [3], {}])
def test_what_is_no_whole_number_is_refused_by_file_and_key(value):
    with pytest.raises(SourceError, match=r"^cfg\.json: part\.key: Input should be .*, found "):
        Settings("cfg.json", {"key": value}, "part.").count("key")


@pytest.mark.parametrize(
    ("read", "value"),
    [
        *((lambda s: s.flag("key", False), value) for value in ("false", "true", 0, 1, None, [])),
        (lambda s: s.text("key"), 1),
        (lambda s: s.text("no key"), "x"),
        (lambda s: s.choice("key", ("none", "some"), "none"), "x"),
        (lambda s: s.section("key"), "\x1b[2J"),
        (lambda s: s.number("key"), True),
        (lambda s: s.number("key"), math.nan),
    ],
)
def test_values_of_another_type_are_refused_by_file_and_key(read, value):
    with pytest.raises(SourceError, match=r"^cfg\.json: part\.(no )?key: Input should be .*, found "):
        read(Settings("cfg.json", {"key": value}, "part."))


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
