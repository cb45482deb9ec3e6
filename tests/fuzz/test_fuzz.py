"""A sample of the fuzz (all of it: python -m tests.fuzz), and a test of the faults that it reports."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.cases import generator
from tests.fuzz.harness import KINDS, LIMIT, Worker
from tests.fuzz.planted import make

SAMPLE = {"images": 30, "configurations": 60, "dictionaries": 60}
"""Number of cases of each kind: half a minute in all on an idle core."""
SEED = 0
WRONG = {
    "nameless": "an error names none of ['x.npy']",
    "advice": "gives away what is no advice",
    "bare": "bare RecursionError: too deep (planted.py:",
    "wrong": "reads 3, a plain reader has 4",
    "hangs": "took more than 2 s",
    "crashes": "the process ended with -11",
    "eats": "bare MemoryError: Unable to allocate",
}


@pytest.fixture(scope="module")
def worker():
    # a shared machine pauses tests at will; a hanging case hangs for longer than that
    with Worker(limit=3 * LIMIT) as worker:
        yield worker


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", KINDS)
def test_odd_files_and_configurations_end_in_a_result_or_in_a_sentence(worker, kind):
    results = [worker.run(kind, SEED, number) for number in range(SAMPLE[kind])]
    assert [str(result) for result in results if result.outcome == "fault"] == []
    assert {result.outcome for result in results} == {"accepted", "refused"}


@pytest.fixture(scope="module")
def planted():
    """A case number for each possible outcome, by outcome."""
    numbers = {make(generator("planted", SEED, number), Path()).what: number for number in range(100)}
    assert numbers.keys() == {"accepted", "refused", *WRONG}
    return numbers


def test_the_fuzz_tells_of_what_users_must_not_see_and_goes_on(planted):
    with Worker(limit=2.0) as worker:
        results = [worker.run("planted", SEED, number) for number in planted.values()]
    for what, result in zip(planted, results, strict=True):
        assert result.what == what
        assert result.outcome == ("fault" if what in WRONG else what)
        assert WRONG.get(what, "") in result.why


def test_a_fault_is_reported_with_the_command_that_repeats_it(planted, capsys):
    with pytest.raises(SystemExit, match="1 of 1 ended in a fault"):
        main(["--seed", str(SEED), "--only", "planted", str(planted["wrong"])])
    report = capsys.readouterr().out
    assert f"planted {planted['wrong']} (wrong): reads 3, a plain reader has 4" in report
    assert f"python -m tests.fuzz --seed {SEED} --only planted {planted['wrong']}" in report
