"""No file can command the terminal that shows its error: control characters from files are escaped."""

import json
import struct
import traceback

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.api.run_folder import CHECKPOINT
from sdlcore.errors import printable_cause
from sdlcore.model.saving import ENTRY
from sdlcore.storage.checksums import read_with_checksum, write_with_checksum
from sdlcore.text import printable_lines
from tests.api.test_fitting import QUIET
from tests.data.test_loaders import interrupt

CODE = "\x1b[2J\x9d0;title\x07\u202e"
"""Clears a screen, renames a window, and reverses a line."""
X = np.random.default_rng(0).standard_normal((256, 8)).astype(np.float32)
SETTINGS = {"activation": "topk", "k": 2, "n_q": 16, "steps": 4, "batch_size": 64, **QUIET}


@pytest.mark.parametrize("kind", [sdl.StoreError, sdl.SourceError, sdl.RefusedError, sdl.PluginError])
def test_a_message_keeps_its_lines_and_escapes_the_rest(kind):
    assert str(kind(f"a {CODE}\nb")) == "a \\x1b[2J\\x9d0;title\\x07\\u202e\nb"


def test_a_cause_is_chained_unless_its_message_commands_a_terminal():
    plain = ValueError("two\nlines")
    assert printable_cause(plain) is plain
    assert printable_cause(ValueError(CODE)) is None


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "a.safetensors"
    sdl.fit(X, **SETTINGS).save(path)
    return path


def traceback_of(error):
    """Return what Python shows of an error that nobody catches, with its causes."""
    return "".join(traceback.format_exception(error))


def in_description(change):
    def craft(path, facts, tensors):
        change(facts)
        write_with_checksum(path, tensors, facts, ENTRY)

    return craft


def in_a_tensors_name(path, facts, tensors):
    write_with_checksum(path, {**tensors, CODE: torch.zeros(1)}, facts, ENTRY)


def in_a_tensors_type(path, facts, tensors):
    header = json.dumps({"a": {"dtype": CODE, "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


@pytest.mark.parametrize(
    "craft",
    [
        pytest.param(in_description(lambda facts: facts["model"].update(activation=CODE)), id="activation"),
        pytest.param(
            in_description(lambda facts: facts["model"].update(activation=f"z{CODE}") or facts.update(plugin=CODE)),
            id="plugin",
        ),
        pytest.param(in_description(lambda facts: facts["model"].update({CODE: 1})), id="setting"),
        pytest.param(in_description(lambda facts: facts.update(input_sites=CODE)), id="sites"),
        in_a_tensors_name,
        in_a_tensors_type,
    ],
)
def test_a_crafted_dictionary_commands_no_terminal(craft, saved, tmp_path):
    path = tmp_path / "crafted.safetensors"
    craft(path, *read_with_checksum(saved, ENTRY, "pt"))
    with pytest.raises(ValueError, match="crafted") as error:
        sdl.load(path)
    assert traceback_of(error.value) == printable_lines(traceback_of(error.value))


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts["identity"]["settings"].update(activation=CODE),
        lambda facts: facts["identity"]["settings"].update({CODE: 1}),
        lambda facts: facts.update(identity=[CODE]),
        lambda facts: facts.update(stopped={"step": 1, "by": [CODE]}),
    ],
)
def test_a_crafted_run_folder_commands_no_terminal(change, tmp_path):
    sdl.fit(X, out=tmp_path / "run", **SETTINGS)
    config = tmp_path / "run/config.json"
    facts = json.loads(config.read_text())
    change(facts)
    config.write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="run") as error:
        sdl.fit(X, out=tmp_path / "run", **SETTINGS)
    assert traceback_of(error.value) == printable_lines(traceback_of(error.value))


@pytest.mark.parametrize("versions", [{"torch": CODE}, [CODE], None])
def test_crafted_versions_of_a_run_command_no_terminal(versions, tmp_path, caplog):
    sdl.fit(X, out=tmp_path / "run", **SETTINGS)
    config = tmp_path / "run/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"versions": versions, "device": CODE}))
    sdl.fit(X, out=tmp_path / "run", **SETTINGS)
    assert "device" in caplog.text
    assert caplog.text == printable_lines(caplog.text)


@pytest.mark.usefixtures("interruptible")
def test_a_crafted_checkpoint_commands_no_terminal(tmp_path, monkeypatch):
    interrupt(monkeypatch, lambda: sdl.fit(X, out=tmp_path / "run", **SETTINGS), 2)
    path = tmp_path / "run" / CHECKPOINT
    facts, tensors = read_with_checksum(path, "training", "pt")
    write_with_checksum(path, {**tensors, f"model/{CODE}": torch.zeros(1)}, facts, "training")
    with pytest.raises(ValueError, match="checkpoint") as error:
        sdl.fit(X, out=tmp_path / "run", **SETTINGS)
    assert traceback_of(error.value) == printable_lines(traceback_of(error.value))
