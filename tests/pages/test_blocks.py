"""Every code block of a page is executed, or marked with its needs; all blocks can be parsed."""

import ast
import pkgutil
import re
import subprocess

import pytest

import sdlcore as sdl
from docs.references import PAGES
from sdlcore.commands.main import COMMANDS
from sdlcore.evaluation.metrics import METRICS, RECOVERY
from sdlstudy.configuration.loading import configure, load_yaml
from tests.pages.blocks import GENERATED, NEEDS, NOT_EXECUTED, all_blocks, blocks, pages
from tests.pages.execution import configuration

BLOCKS = all_blocks()


def test_what_a_block_needs_is_one_of_a_few_things():
    unknown = {f"{block.where}: {marker}" for block in BLOCKS for marker in block.needs if marker not in NEEDS}
    assert not unknown
    assert not [block.where for block in BLOCKS if block.language not in ("python", "sh", "yaml", *NOT_EXECUTED)]


def test_no_fence_is_missed():
    for page in pages():
        fences = sum(line.lstrip().startswith("```") for line in page.read_text().splitlines())
        assert fences == 2 * len(blocks(page)), page


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=lambda block: block.where)
def test_python_can_be_parsed(block):
    assert ast.parse(block.code).body


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "sh"], ids=lambda block: block.where)
def test_commands_can_be_parsed(block):
    done = subprocess.run(["bash", "-n"], input=block.code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "yaml"], ids=lambda block: block.where)
def test_configurations_are_valid(block, registry, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for plugin in BLOCKS:
        if plugin.page == block.page and plugin.language == "python" and plugin.file:
            (tmp_path / plugin.file).write_text(plugin.code)
    assert configure(configuration(block), load_yaml("config/config.yaml")).name


def test_text_is_what_the_block_above_prints():
    assert all(block.prints for block in BLOCKS if block.language == "text")


def test_the_references_have_every_name_command_and_metric():
    python, commands, metrics = (PAGES[page.removeprefix("docs/")]() for page in GENERATED)
    entries = set(re.findall(r"^::: (\S+)$", python, flags=re.MULTILINE))
    assert {entry.rpartition(".")[2] for entry in entries} >= set(dir(sdl)) - {"plot"}
    assert all(pkgutil.resolve_name(entry) for entry in entries)
    assert all(f"\n## {command}\n" in commands for command in COMMANDS)
    assert "--activation" in commands
    assert all(f"| `{name}` |" in metrics for name in METRICS if not RECOVERY.fullmatch(name))
