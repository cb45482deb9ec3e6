"""Editing an activation, a loss term or a solver recomputes only the runs that use it."""

import pytest

from tests.recipes.recipe import Copy


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return Copy(tmp_path_factory.mktemp("edits"))


@pytest.fixture(scope="module")
def before(copy):
    return copy.runs()


@pytest.mark.parametrize(
    ("module", "place", "uses_it"),
    [
        (
            "model/activations/topk.py",
            "class TopK",
            lambda used: used.get("activation") == "topk" or used.get("encoder") == "pursuit",
        ),
        ("losses/multi_scale.py", "TERM = ", lambda used: used.keys() & {"multi_k", "prefixes"} and "peer" not in used),
        ("solvers/ksvd.py", "SOLVER = ", lambda used: used.get("solver") == "ksvd"),
    ],
)
def test_an_edit_makes_the_runs_that_use_it_anew_and_no_others(copy, before, module, place, uses_it):
    whole = copy.insert(module, place, "EDIT = 1\n\n\n")
    after = copy.runs()
    (copy.path / "src/sdlcore" / module).write_text(whole)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name, (used, _) in before.items() if uses_it(used)}
    assert 0 < len(changed) < len(before)
