"""Command lines of rules and users, and the messages for mistakes in them."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from sdlcore.command_line import cli
from sdlcore.errors import SourceError
from sdlcore.settings import Settings


@dataclass(frozen=True)
class Files:
    """Files of a run."""

    store: Path
    """what is read"""
    seed: int = 0


class Family(Settings):
    parents: int
    children: int = 2


@pytest.fixture
def called(capsys):
    """Call a function by a command line; return its arguments, or exit status, output and errors."""

    def call(*argv: str) -> Any:
        calls: list[dict[str, Any]] = []

        def main(
            files: Files,
            *,
            cell: tuple[str, int] = ("bench", 0),
            metrics: list[Path],
            settings: dict[str, Any],
            runs: list[dict[str, Any]] | None = None,
            anchors: Path | None = None,
            n_anchors: int | None = 3,
            shard: tuple[int, int] | None = None,
            hierarchy: Family | None = None,
            device: Literal["auto", "cpu"] = "auto",
        ) -> None:
            """
            Args:
                metrics: files of runs
            """
            calls.append(locals() | {"calls": None})

        try:
            cli(main, argv=list(argv))
        except SystemExit as end:
            return end.code, *capsys.readouterr()
        return calls[0]

    return call


NEEDED = ("--store", "train.h5", "--metrics", "a.json", "b c.json", "--settings", '{"k": 2}')


def test_options_are_the_parameters_and_the_fields_of_a_dataclass_among_them(called):
    options = called(*NEEDED, "--seed", "4", "--cell", "sae", "7", "--n-anchors", "5", "--device", "cpu")
    assert options["files"] == Files(Path("train.h5"), 4)
    assert (options["cell"], options["n_anchors"], options["device"]) == (("sae", 7), 5, "cpu")
    assert options["metrics"] == [Path("a.json"), Path("b c.json")]
    assert options["settings"] == {"k": 2}
    assert called(*NEEDED)["n_anchors"] == 3


def test_settings_are_one_value_of_json(called):
    assert called(*NEEDED, "--hierarchy", '{"parents": 3}')["hierarchy"] == Family(3)
    assert called(*NEEDED, "--hierarchy", "null")["hierarchy"] is None


def test_what_may_be_none_may_stand_without_a_value(called):
    options = called(*NEEDED, "--anchors", "--n-anchors", "--shard", "--runs", "null")
    assert all(options[name] is None for name in ("anchors", "n_anchors", "shard", "runs"))
    options = called(*NEEDED, "--anchors", "a.safetensors", "--shard", "1", "4", "--runs", '[{"seed": 0}]')
    assert (options["anchors"], options["shard"], options["runs"]) == (Path("a.safetensors"), (1, 4), [{"seed": 0}])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--store", "x", "--settings", "{}"), "--metrics"),
        ((*NEEDED, "--seed", "three"), "--seed"),
        ((*NEEDED, "--hierarchy", '{"children": 1}'), "parents: Field required"),
        ((*NEEDED, "--anchors", "a", "b"), "expected PATH or nothing, not a b"),
        ((*NEEDED, "--shard", "1"), "expected INT INT or nothing, not 1"),
    ],
)
def test_a_mistake_names_the_option(called, argv, message):
    status, *printed = called(*argv)
    assert status == 2
    assert message in " ".join("".join(printed).replace("│", " ").split())


def test_an_error_of_a_source_is_one_line_and_other_errors_pass(capsys):
    def main(*, store: Path, error: Literal["source", "value"]) -> None:
        raise {"source": SourceError, "value": ValueError}[error](f"{store}: row 7 holds NaN")

    with pytest.raises(SystemExit):
        cli(main, argv=["--store", "train.h5", "--error", "source"])
    assert capsys.readouterr().err.endswith(": train.h5: row 7 holds NaN\n")
    with pytest.raises(ValueError, match="row 7 holds NaN"):
        cli(main, argv=["--store", "train.h5", "--error", "value"])


def test_names_in_messages_give_a_terminal_no_orders():
    code = (
        "import logging, sys\n"
        "from sdlcore.command_line import cli\n"
        "from sdlcore.errors import SourceError\n"
        "def main() -> None:\n"
        "    logging.info('read %s', 'a\\x1b[2Jb')\n"
        "    raise SourceError('c\\x1b]0;title\\x07d is no text\\nsecond line')\n"
        "cli(main, argv=[])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert r"read a\x1b[2Jb" in done.stderr
    assert "c\\x1b]0;title\\x07d is no text\nsecond line" in done.stderr
    assert "\x1b" not in done.stderr
