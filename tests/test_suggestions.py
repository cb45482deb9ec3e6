"""Suggestions for wrong names: the setting that other libraries call so, or the closest name."""

import re

import pytest

from sdlcore.config import FIT, Config
from sdlcore.suggestions import ANSWERS, did_you_mean

OURS = [*Config().to_dict(), *FIT]


def test_answers_name_existing_settings_and_are_no_settings_themselves():
    assert len(ANSWERS) <= 30
    for name, answer in ANSWERS.items():
        assert name not in OURS
        assert set([answer] if answer.isidentifier() else re.findall("`([^`]*)`", answer)) <= {*OURS}, name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("autocast", "; set precision to bfloat16"),
        ("scheduler", "; not a setting here; for another optimiser or schedule, write a loop with sdl.SparseCoder"),
        ("auxk_alpha", "; here it is called lambda_aux"),
        ("learning_rate", "; here it is called lr"),
        ("batchsize", "; did you mean batch_size?"),
        ("lr_shape", ""),
        ("beat", ""),
    ],
)
def test_an_answer_comes_before_letters_that_are_alike(name, message):
    assert did_you_mean(name, OURS) == message


def test_a_clause_about_trainings_answers_no_key_of_anything_else():
    assert did_you_mean("autocast", ["rows", "columns"]) == ""
