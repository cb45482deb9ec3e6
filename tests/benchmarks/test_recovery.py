"""The rules of the race to recovery, and its rows."""

import pytest

from benchmarks.recovery import STEPS, TRIAL, Attempt, attempts, referee, rows


def after(library="saelens", lr=1e-3, seconds=10.0, steps=10, recovered=0.0, mean=0.0, **more):
    attempt = Attempt(library, lr, "a rule", **more)
    attempt.turn(seconds, steps, recovered, mean)
    return attempt


def test_the_first_turn_that_reaches_a_threshold_counts():
    attempt = after(seconds=10.0, recovered=0.5)
    attempt.turn(10.0, 10, 0.95, 0.9)
    attempt.turn(10.0, 10, 0.89, 0.9)
    attempt.turn(10.0, 10, 1.0, 0.95)
    assert attempt.reached == {0.9: (20.0, 20), 0.99: (40.0, 40)}
    assert [(row["threshold"], row["seconds"], row["steps"], row["reached"]) for row in rows([attempt])] == [
        (0.9, 20.0, 20, True),
        (0.99, 40.0, 40, True),
    ]


def test_what_was_not_reached_says_when_training_ended():
    (low, high) = rows([after(seconds=30.0, steps=20, recovered=0.95)])
    assert (low["reached"], low["seconds"]) == (True, 30.0)
    assert (high["reached"], high["seconds"], high["steps"], high["final_recovery"]) == (False, 30.0, 20, 0.95)


def test_a_library_runs_until_its_learning_rates_have_used_its_time():
    race = [after(lr=1e-3, seconds=50.0, mean=0.5), after(lr=3e-4, seconds=49.0, mean=0.5)]
    referee(race, limit=100.0)
    assert [attempt.running for attempt in race] == [True, True]
    race[1].turn(2.0, 1, 0.0, 0.5)
    referee(race, limit=100.0)
    assert [attempt.running for attempt in race] == [False, False]


def test_after_the_trial_the_better_learning_rate_has_the_rest_of_the_time():
    behind, ahead = after(seconds=TRIAL * 100, mean=0.4), after(seconds=TRIAL * 100 - 1, mean=0.5)
    referee([behind, ahead], limit=100.0)
    assert behind.running  # not both have finished their trial
    ahead.turn(1.0, 1, 0.0, 0.5)
    referee([behind, ahead], limit=100.0)
    assert (behind.running, ahead.running) == (False, True)


def test_recovered_features_count_before_the_mean():
    more, closer = after(seconds=50.0, recovered=0.2, mean=0.4), after(seconds=49.0, recovered=0.1, mean=0.6)
    referee([more, closer], limit=1000.0 / 8)
    assert (more.running, closer.running) == (True, False)


def test_who_cannot_be_faster_any_more_stops():
    winner, loser = after(seconds=20.0, recovered=1.0), after(seconds=19.0, recovered=0.9)
    referee([winner, loser], limit=1e6)
    assert (winner.running, loser.running) == (False, True)
    loser.turn(1.5, 1, 0.95, 0.9)
    referee([winner, loser], limit=1e6)
    assert not loser.running


def test_libraries_and_types_do_not_stop_one_another():
    race = [
        after("sdlcore", recovered=1.0),
        after("sdlcore", dtype="bfloat16", seconds=15.0),
        after("saelens", seconds=15.0),
    ]
    referee(race, limit=1e6)
    assert [attempt.running for attempt in race] == [False, True, True]


def test_nobody_trains_longer_than_the_pipeline():
    attempt = after(steps=STEPS)
    referee([attempt], limit=1e6)
    assert not attempt.running


@pytest.mark.parametrize("library", ["saelens", "dictionary_learning", "sparsify"])
def test_every_peer_runs_at_its_default_learning_rate_and_at_the_common_one(library):
    default, common = attempts([library])
    assert common.lr == 1e-3
    assert default.rule == "default"
