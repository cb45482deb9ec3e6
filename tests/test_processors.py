"""A sample of `make test-processors`, and that a variant which changes nothing is noticed."""

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
