"""Deprecated keys of configurations work, and one notice names the key and the new one."""

import pytest

from sdlcore.study.configuration.loading import configure, load_yaml, read_given, validate
from sdlcore.study.settings.old_keys import with_new_keys
from sdlcore.study.settings.trees import merge
from tests.conftest import REPOSITORY

DEFAULT = load_yaml(REPOSITORY / "config/config.yaml")
MINE = {"model": "models/mine", "text": "texts", "layer": 3}
NOTICE = "sources.llama is deprecated: write sources.language"


def test_a_file_with_the_old_kind_means_the_same_and_gives_one_notice(tmp_path, caplog):
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text("{name: mine, sources: {llama: {mine: {model: models/mine, text: texts, layer: 3}}}}")
    new.write_text(old.read_text().replace("llama", "language"))
    found = configure(read_given([old], {}), DEFAULT)
    assert caplog.messages == [f"{old}: {NOTICE}"]
    assert found == configure(read_given([new], {}), DEFAULT)
    assert found.sources.language["mine"].layer == 3
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("order", [("llama", "language"), ("language", "llama")])
def test_files_with_the_old_and_the_new_kind_are_merged(tmp_path, order):
    paths = []
    for number, (kind, layer) in enumerate(zip(order, (3, 5), strict=True)):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(f"{{name: mine, sources: {{{kind}: {{mine: {{model: m, text: t, layer: {layer}}}}}}}}}")
    assert read_given(paths, {})["sources"] == {"language": {"mine": {"model": "m", "text": "t", "layer": 5}}}


def test_values_on_the_command_line_and_whole_configurations_may_have_the_old_kind(caplog):
    change = {"name": "mine", "sources": {"llama": {"mine": MINE}}}
    assert read_given([], change)["sources"] == {"language": {"mine": MINE}}
    assert configure(change, DEFAULT).sources.language["mine"].layer == 3
    assert validate(merge(DEFAULT, change)).sources.language["mine"].layer == 3
    assert caplog.messages == [NOTICE] * 3


def test_of_both_kinds_in_one_section_the_new_one_takes_precedence():
    both = {"sources": {"llama": {"a": {"layer": 1, "text": "t"}, "b": {}}, "language": {"a": {"layer": 2}}}}
    assert with_new_keys(both) == {"sources": {"language": {"a": {"layer": 2, "text": "t"}, "b": {}}}}


@pytest.mark.parametrize("sources", [None, [], "llama", {"bench": {"llama": {}}}])
def test_everything_else_stays(sources, caplog):
    assert with_new_keys({"sources": sources, "llama": 1}) == {"sources": sources, "llama": 1}
    assert caplog.messages == []
