"""Every code block of a page is executed, or marked with its needs; all blocks can be parsed."""

import ast
import subprocess

import pytest

from sdlstudy.configuration.loading import configure, load_yaml
from tests.conftest import REPOSITORY
from tests.pages import python_in_full
from tests.pages.blocks import NEEDS, NOT_EXECUTED, all_blocks, blocks, count, pages
from tests.pages.command_line import page as command_line
from tests.pages.execution import configuration
from tests.pages.python_names import PAGE, with_table

BLOCKS = all_blocks()


def test_what_a_block_needs_is_one_of_a_few_things():
    unknown = {f"{block.where}: {marker}" for block in BLOCKS for marker in block.needs if marker not in NEEDS}
    assert not unknown
    assert not [block.where for block in BLOCKS if block.language not in ("python", "sh", "yaml", *NOT_EXECUTED)]


def test_no_fence_is_missed():
    for page in pages():
        fences = sum(line.lstrip().startswith("```") for line in page.read_text().splitlines())
        assert fences == 2 * len(blocks(page)), page


def test_marked_blocks_are_counted_and_no_marker_remains(capsys):
    counts = count(BLOCKS)
    with capsys.disabled():
        print("\ncode blocks of pages:", ", ".join(f"{number} {kind}" for kind, number in counts.items()))
    marked = sum(bool(block.needs) for block in BLOCKS)
    assert counts["executed"] + sum(counts[language] for language in NOT_EXECUTED) + marked == len(BLOCKS)
    assert counts["executed"] > marked


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


def test_text_is_what_the_block_above_prints_unless_it_is_a_commands_help():
    for block in BLOCKS:
        assert block.language != "text" or block.prints or block.page == "docs/reference/command-line.md", block.where


def test_the_reference_of_the_command_line_is_current():
    page = (REPOSITORY / "docs/reference/command-line.md").read_text()
    assert page == command_line(), "make pages-made writes it"


def test_the_table_of_names_in_python_is_current():
    assert PAGE.read_text() == with_table(PAGE.read_text()), "make pages-made writes it"


def test_the_table_of_names_in_python_has_their_first_sentences():
    assert "| `sdl.fit` | Find a dictionary of activations" in PAGE.read_text()


def test_the_reference_in_full_is_what_docstrings_and_settings_say():
    assert python_in_full.FULL.read_text() == python_in_full.page(), "run python -m tests.pages.python_in_full"
    assert "| `lr` | number, above 0 | `0.001` | Adam's peak learning rate. |" in python_in_full.page()
