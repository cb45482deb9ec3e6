"""Sentences of a page are separated and counted correctly."""

from tests.sentences import sentences, words

PAGE = """# A heading is no sentence

A paragraph on two
lines. It has `code. With a stop` and et al. in it! See [a link. There](https://a.b/c.d).

- One item
- Another: 97.7 % of it

| a table | is none |

    nor is indented code

```sh
nor are commands
```
<!-- nor is
a comment -->
Last one.
"""


def test_paragraphs_and_items_have_sentences_and_nothing_else_has():
    found = [(line, " ".join(sentence.split())) for line, sentence in sentences(PAGE)]
    assert found == [
        (3, "A paragraph on two lines."),
        (3, "It has code and et al in it!"),
        (3, "See a link."),
        (3, "There."),
        (6, "One item"),
        (7, "Another: 97.7 % of it"),
        (18, "Last one."),
    ]


def test_signs_are_no_words():
    assert words("97.7 % of it -> here") == 4
