"""Random numbers of the sampler."""

import numpy as np
import pytest

from sdlcore.benches.loops import philox

# Random123's known answers for Philox4x32-10: counter, key, result
ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), ANSWERS)
def test_random_words_are_philoxs_reference_words(counter, key, result):
    assert list(philox(*map(np.uint64, words(counter) + words(key)))) == words(result)
