"""Configuration files that cannot be read become a message with the file."""

import os

import pytest

from sdlcore.storage.yaml_files import LARGEST_FILE, LONGEST_SHOWN, ConfigError, load_yaml


def large(path):
    with path.open("wb") as file:
        file.truncate(10 * LARGEST_FILE)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (os.mkfifo, r"cannot be read \(no regular file\)"),
        (os.mkdir, r"cannot be read \(no regular file\)"),
        (large, f"more than {LARGEST_FILE} bytes, expected a configuration"),
    ],
)
def test_what_is_no_small_regular_file_is_refused_and_not_waited_for(write, message, tmp_path):
    write(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match=f"{tmp_path}/a.yaml: {message}"):
        load_yaml(tmp_path / "a.yaml")


def test_a_long_message_is_written_once():
    long = "x" * (LONGEST_SHOWN + 1)
    message = str(ConfigError([f"a.k: {long}", "b: is no key", f"c.k: {long}", "d: is no key"]))
    lines = [f"  a.k: {long}", "  b: is no key", "  c.k: the same as a.k", "  d: is no key"]
    assert message.splitlines() == ["configuration refused:", *lines]
