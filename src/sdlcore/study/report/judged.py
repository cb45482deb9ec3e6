"""The report's parts on the paper's numbers and claims: by this run, and by runs that are kept with the code."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from sdlcore.study.rendering.figures import base64_of, png_bytes
from sdlcore.study.rendering.overview import figure_overview, overview_rows
from sdlcore.study.results.tables import PAPER_METHODS
from sdlcore.study.verdicts import markup as verdict_markup
from sdlcore.study.verdicts.judging import UNDECIDED


class Judged(NamedTuple):
    """Verdicts on the paper's numbers and claims by some runs, each counted once."""

    decided: bool
    """Whether any number is judged."""
    counts: list[tuple[str, int]]
    caption: str
    numbers: tuple[list[str], list[list[str]]]
    glance: verdict_markup.AtAGlance
    claims_caption: str
    claims: list[verdict_markup.ClaimGroup]
    """With all numbers; empty where none is judged."""
    image: str | None = None
    """Table 1 at a glance, PNG in base 64."""
    sentences: Sequence[str] = ()


def judged(verdicts: pd.DataFrame, claims: pd.DataFrame, here: bool = False) -> Judged:
    """Return the verdicts by some runs; ``here`` judges claims at whatever scale these have."""
    decided = not verdicts["verdict"].isin(UNDECIDED).all()
    return Judged(
        decided=decided,
        counts=verdict_markup.counts(verdicts),
        caption=verdict_markup.CAPTION,
        numbers=verdict_markup.verdict_rows(verdicts),
        glance=verdict_markup.at_a_glance(claims, here),
        claims_caption=verdict_markup.CLAIMS_CAPTION,
        claims=verdict_markup.claim_groups(claims) if decided else [],
    )


def stored(frames: Mapping[str, pd.DataFrame]) -> Judged:
    """Return what runs say that are kept with the code."""
    verdicts, claims = (frames[f"published_{name}"] for name in ("verdicts", "claims"))
    table, image = frames.get("published_table1"), None
    if table is not None:
        named = list(table["method"].unique())
        nulls = [name for name in named if name not in PAPER_METHODS]
        nearest = frames["published_nearest_protocol"]
        rows = overview_rows(table, nearest, [name for name in named if name in PAPER_METHODS], nulls)
        image = base64_of(png_bytes(figure_overview(rows)))
    return judged(verdicts, claims)._replace(image=image, sentences=verdict_markup.in_short(verdicts, claims))
