"""Words are explained once, where they first occur."""

import re

from sdlcore.study.report.words import WORDS, Glossary


def names(part: str, glossary: Glossary) -> list[str]:
    return [word.name for word in glossary.first_in(part)]


def test_a_word_is_explained_where_it_first_occurs_and_never_again():
    glossary = Glossary()
    assert names("<p>The FVU is <b>low</b>.</p>", glossary) == ["FVU"]
    assert names("<p>The FVU is high.</p>", glossary) == []


def test_tags_and_parts_of_words_are_not_words():
    assert names('<p class="latent">blatently</p>', Glossary()) == []


def test_an_explanation_explains_its_own_words():
    found = names("ours by chance", Glossary())
    assert {"Chance", "Feature", "Recovery", "Encoder row", "Latent"} <= set(found)
    assert found == [word.name for word in WORDS if word.name in found]


def test_every_word_matches_its_own_name():
    assert all(re.search(word.pattern, word.name, re.IGNORECASE) for word in WORDS)
    assert len({word.name for word in WORDS}) == len(WORDS)
