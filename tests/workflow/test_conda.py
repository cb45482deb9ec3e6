"""Every rule names its conda environment."""

import re

import pytest

from tests.conftest import REPOSITORY

RULES = sorted((REPOSITORY / "workflow/rules").glob("*.smk"))


def rules_of(text):
    """Return the rules of a file by name, each with its text."""
    parts = re.split(r"^ *rule(?: (\w+):|:\n +name:\n +(.+))$", text, flags=re.MULTILINE)[1:]
    return {
        name or written_name: body
        for name, written_name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_every_rule_that_runs_a_command_names_its_environment(file):
    without = [
        name
        for name, text in rules_of(file.read_text()).items()
        if re.search(r"^ *shell:", text, flags=re.MULTILINE)
        and not re.search(r"^ *conda:\n *(PEERS_)?ENVIRONMENT$", text, flags=re.MULTILINE)
    ]
    assert without == []
