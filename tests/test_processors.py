"""A sample of `make test-processors`, and that a variant which changes nothing is noticed."""

import pytest

from tests import processors

TESTS = [
    "tests/solvers/test_acs.py::test_inner_products_are_those_of_the_product_and_symmetric",
    "tests/training/test_step.py::test_the_anchors_gradient_is_autograds",
]
"""Files whose tests once passed on this project's machines alone."""


def test_some_tests_pass_with_other_instructions_and_one_thread():
    outcome = processors.run(processors.SAMPLE, *TESTS)
    assert outcome.failed == 0, outcome.output
    assert outcome.passed >= len(TESTS)


def test_failing_tests_are_counted_and_named_and_a_pytest_that_breaks_counts_as_one():
    text = "FAILED tests/a.py::test_a - assert 0\nERROR tests/b.py\n1 failed, 12 passed, 1 skipped, 1 error in 2.50s\n"
    outcome = processors.read(text, 1, 2.5)
    assert (outcome.passed, outcome.failed) == (12, 2)
    assert outcome.failures == ["tests/a.py::test_a", "tests/b.py"]
    assert processors.read("3 passed in 1.00s\n", 0, 1.0).failed == 0
    assert processors.read("killed\n", -9, 1.0).failed == 1


def test_an_environment_has_the_variables_of_one_variant(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    environment = processors.environment({"NUMBA_CPU_NAME": "generic"})
    assert "OMP_NUM_THREADS" not in environment
    assert environment["NUMBA_CPU_NAME"] == "generic"


def test_effects_of_a_variant_are_listed_and_a_library_without_one_is_named(monkeypatch):
    plain = {"aten": "AVX2", "numba": "znver3", "oneDNN": "Intel AVX2", "threads": "2 2", "products": "a"}
    variant = {"ATEN_CPU_CAPABILITY": "default"}
    monkeypatch.setattr(processors, "facts", lambda _: plain | {"aten": "DEFAULT", "products": "b"})
    assert processors.effect(variant, plain) == "aten DEFAULT, other bits of products"
    monkeypatch.setattr(processors, "facts", lambda _: plain)
    assert processors.effect({"MKL_ENABLE_INSTRUCTIONS": "AVX2"}, plain) == processors.NO_EFFECT
    with pytest.raises(RuntimeError, match="ATEN_CPU_CAPABILITY=default: expected aten DEFAULT, found AVX2"):
        processors.effect(variant, plain)


def test_variants_without_an_effect_are_named_and_not_run(monkeypatch, capsys, tmp_path):
    effects = {"A=1": processors.NO_EFFECT, "B=1": "other bits of products"}
    ran = []

    def run(variant, *_):
        ran.append(processors.name_of(variant))
        return processors.Outcome(3, 0, 1.0, [], "3 passed")

    monkeypatch.setattr(processors, "VARIANTS", [{"A": "1"}, {"B": "1"}])
    monkeypatch.setattr(processors, "LOGS", tmp_path)
    monkeypatch.setattr(processors, "facts", lambda _: {"aten": "AVX2"})
    monkeypatch.setattr(processors, "effect", lambda variant, _: effects[processors.name_of(variant)])
    monkeypatch.setattr(processors, "run", run)
    assert processors.main([]) == 0
    assert ran == ["B=1"]
    assert "not run  nothing seen" in capsys.readouterr().out
