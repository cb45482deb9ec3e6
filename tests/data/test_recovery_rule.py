import ast

import numpy as np
import torch

from sdlcore.data.recovery_rule import TAU, TAU_STRICT, recovered
from tests.conftest import REPOSITORY


def test_a_feature_is_recovered_above_tau_and_not_at_it():
    assert recovered(np.array([0.89, TAU, 0.91])).tolist() == [False, False, True]
    assert recovered(torch.tensor([0.94, 0.96]), TAU_STRICT).tolist() == [False, True]
    assert not recovered(0.9)


def own_rule(path):
    """Return whether a module compares something with a recovery threshold, or defines one itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and {"TAU", "TAU_STRICT"} & {ast.unparse(name) for name in node.targets}:
            return True
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            compared = [ast.unparse(value).split(".")[-1] for value in (node.left, *node.comparators)]
            if {"TAU", "TAU_STRICT", "tau"} & set(compared):
                return True
    return False


def test_no_other_module_defines_tau_or_compares_with_it():
    parts = ("src", "workflow", "benchmarks")
    paths = (path for part in parts for path in sorted((REPOSITORY / part).rglob("*.py")))
    sources = [path for path in paths if ".venv" not in path.parts]  # the environment of `make benchmark`
    assert [path.name for path in sources if own_rule(path)] == ["recovery_rule.py"]
