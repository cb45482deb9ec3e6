"""Explain each word of a report once, where it first occurs."""

import re
from typing import NamedTuple

from sdlcore.evaluation.metrics import METRICS
from sdlcore.evaluation.top_samples import TOP


class Word(NamedTuple):
    """A word, and what it means."""

    name: str
    pattern: str
    """A regular expression, in any case, for the forms that it occurs in."""
    meaning: str


WORDS = (
    Word("Feature", r"\bfeatures?\b", "a direction that the data is made of; a bench knows all of its features."),
    Word(
        "Dictionary", r"\bdictionar(y|ies)\b", "an encoder and a decoder that write samples as a few of many latents."
    ),
    Word(
        "Latent",
        r"\blatents?\b",
        "a unit of a dictionary: its encoder row reads samples, its decoder column writes them.",
    ),
    Word(
        "Encoder row",
        r"\bencoders?\b",
        "the direction that a latent responds to; a method’s “encoder” is all of its rows.",
    ),
    Word(
        "Decoder column", r"\bdecoders?\b", "the direction that a latent adds to the output; “decoder” is all of them."
    ),
    Word(
        "Recovery",
        r"\b(recover(y|s|ed)?|recovers)\b",
        "the share of features that some encoder row, or decoder column, points along: the absolute cosine exceeds a "
        "threshold τ. The paper takes inner products of encoder rows instead.",
    ),
    Word(
        "Protocol",
        r"\bprotocols?\b",
        "how runs are trained: “best” by the field’s practice, “paper” by the paper’s text.",
    ),
    Word("Seed", r"\bseeds?\b", "one draw of features, samples, initialisation, order and anchors."),
    Word(
        "Anchor",
        r"\banchor(s|ed|ing|ings)?\b",
        "a known feature that training ties a latent to; it is “given”, all others are “not given”.",
    ),
    Word(
        "Null baseline",
        r"\bnull baselines?\b",
        "a dictionary that learns little or nothing; its score is what no training is needed for.",
    ),
    Word("Interval", r"\bintervals?\b", "a 95 % t interval over seeds; where it excludes zero, a change is shown."),
    Word("Chance", r"\bchance\b", "what as many random directions recover."),
    Word("GT recovery", r"\bGT recovery\b", "recovery of the ground truth, which are the true features."),
    Word("MIP", r"\bMIP\b", "mean over features of the best absolute cosine (maximum inner product)."),
    Word(
        "Inner products",
        r"\binner products\b",
        "like cosines, but of encoder rows that are not normalised, so that long rows score more.",
    ),
    Word("L0", r"\bL0\b", "how many latents a sample activates."),
    Word("FVU", r"\bFVU\b", "fraction of the variance that reconstructions leave unexplained."),
    Word("Dead latent", r"\bdead\b", "one that no held-out sample activates."),
    Word("Resampling", r"\bresampl(e|ed|ing)\b", "starting dead latents anew while training goes on."),
    Word(
        "Absorption",
        r"\babsor(b|bs|bed|ption)\b",
        "a child’s latent writes its parent’s direction, too, so that the parent’s own latent stays silent.",
    ),
    Word("Oracle", r"\boracle\b", "the true features themselves as encoder and decoder."),
    Word(
        "Anchors only",
        r"\banchors (only|alone)\b",
        "the anchors without any training: how much of the rest they match by lying close.",
    ),
    Word(
        "Class means",
        r"\b(class means|means of classes)\b",
        "the mean sample of each class, normalised; they stand in for true features, which nobody knows.",
    ),
    Word(
        METRICS["top_classes"].symbol,
        re.escape(METRICS["top_classes"].symbol),
        f"how many classes share the {TOP} held-out samples that a latent responds to most.",
    ),
    Word(
        "Solver",
        r"\bsolvers?\b",
        "a search for a dictionary without gradient descent, such as ACS, alternating convex search.",
    ),
    Word(
        "Reading",
        r"\breadings?\b",
        "what a number of the paper is taken to mean: threshold, similarity, side, features scored, anchors, k.",
    ),
    Word(
        "Inconsistent in the paper",
        r"\binconsistent in the paper\b",
        "contradicts other numbers of the paper, or its own definition, under every reading, whatever is run.",
    ),
    Word("Mixed", r"\bmixed\b", "the statements that a claim is put as have different verdicts."),
    Word("Cannot tell", r"\bcannot tell\b", "both sides of a comparison stand at 0 or at 100 % in every seed."),
    Word(
        "Not decided",
        r"\bnot decided\b",
        "the interval over seeds includes the claim’s bound, or there are too few seeds.",
    ),
)


class Glossary:
    """Tells which words occur for the first time in the parts of a page, in their order."""

    def __init__(self) -> None:
        self._left = list(WORDS)

    def first_in(self, part: str) -> list[Word]:
        """Return the words that no part before had, with those that their meanings need.

        Parameters
        ----------
        part
            HTML of the page.
        """
        text = re.sub(r"<[^>]*>", " ", part)
        found: list[Word] = []
        while new := [word for word in self._left if re.search(word.pattern, text, re.IGNORECASE)]:
            self._left = [word for word in self._left if word not in new]
            found += new
            text = " ".join(word.meaning for word in new)
        return sorted(found, key=WORDS.index)
