"""Configuration files that cannot be read become a message with the file."""

import os

import pytest

from sdlcore.storage.yaml_files import LARGEST_FILE, LONGEST_SHOWN, ConfigError, load_yaml


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"pipe.yaml: cannot be read \(no regular file\)"):
        load_yaml(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read \(no regular file\)"):
        load_yaml(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(10 * LARGEST_FILE)
    with pytest.raises(ConfigError, match=f"{path}: more than {LARGEST_FILE} bytes, expected a configuration"):
        load_yaml(path)


def test_a_long_message_is_written_once():
    long = "x" * (LONGEST_SHOWN + 1)
    message = str(ConfigError([f"a.k: {long}", "b: is no key", f"c.k: {long}", "d: is no key"]))
    lines = [f"  a.k: {long}", "  b: is no key", "  c.k: the same as a.k", "  d: is no key"]
    assert message.splitlines() == ["configuration refused:", *lines]
