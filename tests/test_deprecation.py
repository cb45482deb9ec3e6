"""Every deprecated name of Python works and warns once (CONTRIBUTING.md)."""

import importlib
import warnings

import pytest

from sdlcore.data.resumable import Progress, resume_store
from sdlcore.losses.term import TermInputs


@pytest.mark.parametrize(
    ("module", "name", "new", "found"),
    [
        ("sdlcore.data.parts", "resume_store", "sdlcore.data.resumable.resume_store", resume_store),
        ("sdlcore.data.parts", "Progress", "sdlcore.data.resumable.Progress", Progress),
        ("sdlcore", "Given", "sdlcore.TermInputs", TermInputs),
        ("sdlcore.losses.term", "Given", "sdlcore.TermInputs", TermInputs),
    ],
)
def test_an_old_name_works_and_warns_of_the_new_one(module, name, new, found):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")  # Python's default: once for each line of code
        exec(f"from {module} import {name}", names := {"__name__": "plugin"})
    assert names[name] is found
    assert [str(one.message) for one in warned] == [f"{module}.{name} is deprecated: write {new}"]
    assert (warned[0].category, warned[0].filename) == (FutureWarning, "<string>")


@pytest.mark.parametrize("module", ["sdlcore", "sdlcore.data.parts", "sdlcore.losses.term"])
def test_other_names_are_unknown(module):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not hasattr(importlib.import_module(module), "nothing")


def test_the_old_name_of_anchored_rows_works_and_warns():
    inputs = TermInputs(None, None, None, None, anchored_rows=("encoder", "decoder"))
    with pytest.warns(
        FutureWarning, match="^held of a loss term's inputs is deprecated: write anchored_rows$"
    ) as warned:
        assert inputs.held == ("encoder", "decoder")
    assert warned[0].filename == __file__
