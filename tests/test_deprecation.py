"""Every deprecated name of Python works and warns once (CONTRIBUTING.md)."""

import importlib
import warnings

import pytest

from sdlcore.data.resumable import Progress, resume_store


@pytest.mark.parametrize(
    ("module", "name", "new", "found"),
    [
        ("sdlcore.data.parts", "resume_store", "sdlcore.data.resumable.resume_store", resume_store),
        ("sdlcore.data.parts", "Progress", "sdlcore.data.resumable.Progress", Progress),
    ],
)
def test_an_old_name_works_and_warns_of_the_new_one(module, name, new, found):
    with pytest.warns(FutureWarning, match=rf"^{module}.{name} is deprecated: write {new}$") as warned:
        exec(f"from {module} import {name}", names := {})
    assert names[name] is found
    assert len(warned) == 1
    assert warned[0].filename == "<string>"  # the user's line


@pytest.mark.parametrize("module", ["sdlcore.data.parts"])
def test_other_names_are_unknown(module):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not hasattr(importlib.import_module(module), "nothing")
