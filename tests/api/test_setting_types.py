"""Editors and type checkers know the settings that functions take by name (`tests.api.typed_settings`)."""

from tests.pages.setting_types import PATH, source


def test_the_types_are_those_of_the_settings():
    assert PATH.read_text() == source(), "make pages-made writes it"
