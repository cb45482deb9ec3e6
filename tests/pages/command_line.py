"""The reference of the command line: `python -m tests.pages.command_line > docs/reference/command-line.md`."""

import contextlib
import io
import os
import re
import sys

from sdlcore.commands.main import COMMANDS, main


def help_of(*arguments: str) -> str:
    """Return a command's help text, 100 columns wide and without colours."""
    os.environ.update(COLUMNS="100", NO_COLOR="1")
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([*arguments, "--help", "all"])
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue()).splitlines()]
    return "\n".join(lines).strip()


def page() -> str:
    """Return the page."""
    parts = [
        "# Which commands and options does `sdlcore` have?",
        "`pip install .` installs the command. `sdlcore COMMAND --help all` prints the texts below. `sdlcore fit "
        "--help` shows the settings that matter most, and `sdlcore fit --help topk` also the settings of a method.",
    ]
    for name in COMMANDS:
        parts += [f"## {name}", f"```text\n{help_of(name)}\n```"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
