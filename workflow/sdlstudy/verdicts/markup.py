"""Write verdicts for readers: as Markdown, and as tables and sentences of the report."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from sdlcore.evaluation.metric_names import Similarity
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.verdicts.claim_rule import BLIND, FAILS, HOLDS, OPEN, PARTLY, span
from sdlstudy.verdicts.contradictions import WRONG
from sdlstudy.verdicts.evidence import PROTOCOL
from sdlstudy.verdicts.judging import (
    INCONSISTENT,
    NOT_READ,
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    UNDECIDED,
    VERDICTS,
)
from sdlstudy.verdicts.paper import MEASURES, describe
from sdlstudy.verdicts.readings import JUDGED

CAPTION = (
    "A verdict on each number of the paper's Tables 1, 2 and 4 to 7, under the reading that the later revision "
    "states: encoder rows, inner products, tau = .95. Table 1's anchored rows count the 970 features that are not "
    "among 30 anchors. Reproduced: the number is in the 95 % prediction interval of our seeds, at the paper's scale, "
    "under the protocol paper. The interval is widened to a tolerance of 2 points of recovery, .02 of MIP and 5 % of "
    "L0; for one seed it is the tolerance alone. Inconsistent in the paper: under every listed reading, the number "
    "contradicts other numbers of the paper or its own definition. After the reason: the other readings that "
    "reproduce the number, and how many were tried. With enough readings, any number can be reproduced."
)
CLAIMS_CAPTION = (
    "A verdict on each claim that the paper makes in words, from runs at the paper's scale, under the protocol paper "
    "and the later revision's reading (inner products of encoder rows, tau = .95). A claim holds if the 95 % t "
    "interval over seeds of every quantity in it is inside the claimed range. It fails if one of these intervals is "
    "outside. Otherwise it is not decided, as for a difference with fewer than three seeds; a number with fewer seeds "
    "gets the tolerance of the verdicts on numbers. Runs cannot decide a difference if both sides are at 0 % or at "
    "100 % in every seed. A separate column compares the claim with the paper's own printed tables, which is no "
    "replication."
)

PENALISED = ("ReLU SAE", "JumpReLU SAE")
NEARLY_ALL = 98
"""Recovery in per cent that a dictionary with all features reproduces, within the tolerance of 2 points."""
RAN = (REPRODUCED, NOT_REPRODUCED, INCONSISTENT)

MIXED, WITHOUT_RUNS = "mixed", "not run"
CLAIM_VERDICTS = (HOLDS, MIXED, FAILS, OPEN, BLIND, PARTLY, WITHOUT_RUNS)
"""Possible verdicts on all statements of a claim together."""
OWN = {"borne out": "say so", "not borne out": "say otherwise", "no number": "have no number", BLIND: BLIND}
"""Verdict by the paper's own tables -> its wording in the report."""


def counts(verdicts: pd.DataFrame) -> list[tuple[str, int]]:
    """Count the numbers with each verdict; verdicts without any number are listed with 0."""
    return [(verdict, int((verdicts["verdict"] == verdict).sum())) for verdict in VERDICTS]


def counts_sentence(verdicts: pd.DataFrame) -> str:
    """Return the counts of verdicts in sentences, with the number of readings that were tried."""
    wrong = int(_nonempty(verdicts["contradiction"]).sum())
    kinds = Counter(kind for text in verdicts["contradiction"].fillna("") for kind in text.split(", ") if kind)
    kinds_text = ", ".join(f"{count} {WRONG[kind]}" for kind, count in kinds.items())
    opening = f"{wrong} of the paper’s {len(verdicts)} numbers are inconsistent under every reading"
    opening += f": {kinds_text}." if kinds_text else "."
    if verdicts["verdict"].eq(NOT_RUN).all():
        return (
            f"{opening} No run here is at the paper’s scale, so no number is judged; the tables show this page’s "
            "results beside the paper’s."
        )
    counted = dict(counts(verdicts))
    zeros = int((verdicts["verdict"].eq(REPRODUCED) & verdicts["paper"].eq(0)).sum())
    noughts = {REPRODUCED: f" ({zeros} of them a 0)"} if zeros else {}
    parts = (f"{count} {verdict}{noughts.get(verdict, '')}" for verdict, count in counted.items())
    text = f"{opening} By runs, under the reading of the {JUDGED}: {', '.join(parts)}."
    if 0 < (judged := counted[INCONSISTENT]) < wrong:
        text += f" Of the {wrong} that are inconsistent, {wrong - judged} were not run."
    unreproduced = verdicts[verdicts["verdict"].isin([NOT_REPRODUCED, NOT_READ])]
    if len(unreproduced):
        elsewhere = unreproduced[_nonempty(unreproduced["reproduced_under"])]
        text += (
            f" Of the {len(unreproduced)} that are not reproduced or not run under this reading, {len(elsewhere)} are "
            f"reproduced under another one, of up to {int(unreproduced['readings'].max())} readings tried for each"
            f"{': ' if len(elsewhere) else ''}{_kinds(elsewhere)}."
        )
    return text


def _kinds(numbers: pd.DataFrame) -> str:
    """Count numbers by difficulty: recoveries near 0 or 100 % and MIPs are easy to reproduce."""
    recovery = numbers["number"].eq("gt_recovery_percent")
    nothing, everything = recovery & numbers["paper"].eq(0), recovery & numbers["paper"].ge(NEARLY_ALL)
    kinds = {
        MEASURES["mip"].label: numbers["number"].eq("mip"),
        MEASURES["l0"].label: numbers["number"].eq("l0"),
        "recoveries of 0 %": nothing,
        f"recoveries of {NEARLY_ALL} % or more": everything,
        "other recoveries": recovery & ~nothing & ~everything,
    }
    return ", ".join(f"{int(which.sum())} {kind}" for kind, which in kinds.items() if which.any())


def verdict_table(verdicts: pd.DataFrame) -> TextTable:
    """Return the table of verdicts on numbers, with rounded values and the reasons."""
    heads = ["Row", "Number", "Paper", "Ours", "Interval", "Seeds", "Verdict", "Why"]
    rows = []
    for row in verdicts.to_dict("records"):
        digits = 3 if row["number"] == "mip" else 2
        ours = "–" if math.isnan(row["ours"]) else f"{row['ours']:.{digits}f}"
        interval = "" if math.isnan(row["low"]) else f"{row['low']:.{digits}f} to {row['high']:.{digits}f}"
        under = row["reproduced_under"] if isinstance(row["reproduced_under"], str) else ""
        tried = f"readings that reproduce it: {under or 'none'} ({row['readings']:.0f} tried)" * bool(row["readings"])
        why = _joined(row["reason"], tried, row["note"])
        numbers = f"{row['paper']:.{digits}f}", ours, interval, f"{row['seeds']}"
        rows.append([describe(row), MEASURES[row["number"]].label, *numbers, row["verdict"], why])
    return TextTable(CAPTION, pd.DataFrame(rows, columns=heads), len(heads))


class Explanation(NamedTuple):
    """Evidence on a claim in words: the first sentence, and the rest."""

    short: str
    more: str


class Statement(NamedTuple):
    """One measurement of a claim, and its verdicts."""

    what: str
    verdict: str
    """Verdict by the runs at the paper's scale."""
    verdict_text: str
    """Verdict at the scale that `claim_groups` was called for, with means and seeds in brackets."""
    ours: Explanation
    papers_verdict: str
    """Verdict by the paper's own tables, a value of `OWN`."""
    paper: Explanation


class ClaimGroup(NamedTuple):
    """A claim in the paper's words, and its measurements."""

    quote: str
    section: str
    statements: list[Statement]

    @property
    def verdict(self) -> str:
        """The verdict that all statements share, or `MIXED`."""
        return _together(statement.verdict_text for statement in self.statements)

    @property
    def papers_verdict(self) -> str:
        """The verdict by the paper's own tables that all statements share, or `MIXED`."""
        return _together(statement.papers_verdict for statement in self.statements)


def claim_groups(claims: pd.DataFrame, any_scale: bool = False) -> list[ClaimGroup]:
    """Group claims by the paper's words, in their order.

    Parameters
    ----------
    claims
        As `claim_rule.claims` returns them, or read from their file.
    any_scale
        Whether `Statement.verdict_text` is the verdict by runs at any scale instead of runs at the paper's scale.
    """
    groups: dict[tuple[str, str], ClaimGroup] = {}
    for row in claims.to_dict("records"):
        evidence, reason, notes = (_joined(row[name]) for name in ("evidence", "reason", "note"))
        short, _, more = evidence.partition(". ")
        # "protocol best: holds, 7 of 7 above 0, ..." without its numbers
        other_protocols = [note.split(",")[0] for note in notes.split("; ") if note.startswith("protocol ")]
        readings = _joined(row["other_readings"])
        under = f"other readings: {readings}" if readings else ""
        not_judged = f"not judged: {reason}" if reason else ""
        ours = Explanation(_joined(short, *other_protocols), _joined(more, not_judged, under, notes))
        first, _, details = str(row["paper"]).partition(". ")
        statement = Statement(
            what=row["measured"],
            verdict=row["verdict"],
            verdict_text=_verdict_text(row, "here" if any_scale else "verdict"),
            ours=ours,
            papers_verdict=OWN[str(row["paper"]).partition(":")[0]],
            paper=Explanation(first, details),
        )
        key = row["quote"], row["section"]
        groups.setdefault(key, ClaimGroup(*key, [])).statements.append(statement)
    return list(groups.values())


def _verdict_text(row: Any, column: str) -> str:
    """Return a verdict with means, number of seeds, and the protocol unless it is `PROTOCOL`."""
    verdict = row[column]
    if not isinstance(verdict, str) or verdict in ("", *UNDECIDED, PARTLY):
        return PARTLY if verdict == PARTLY else WITHOUT_RUNS
    seeds = f"{row['seeds']:.0f} seed{'s' if row['seeds'] > 1 else ''}"
    return f"{verdict} ({_joined(_text(row['means']), seeds, row['protocol'] if row['protocol'] != PROTOCOL else '')})"


def _together(verdicts: Iterator[str]) -> str:
    kinds = {verdict.partition(" (")[0] for verdict in verdicts}
    return kinds.pop() if len(kinds) == 1 else MIXED


def in_short(verdicts: pd.DataFrame, claims: pd.DataFrame) -> list[str]:
    """Summarise the runs at the paper's scale in sentences on encoders, decoders and anchors.

    Parameters
    ----------
    verdicts, claims
        As the rules return them, or read from their files. A sentence whose runs were not judged is left out.
    """
    judged = claims[~claims["verdict"].isin(UNDECIDED)].set_index("claim")["means"].map(_text)
    plain = verdicts[verdicts["anchoring"].eq("none")]
    recovery = plain[plain["verdict"].isin(RAN) & plain["number"].eq("gt_recovery_percent")]
    sentences = []
    if len(recovery):
        sentences.append(
            f"By the paper’s own measure, our encoders recover {span(recovery['ours'])} % of the features without "
            f"anchors; the paper reports {span(recovery['paper'])} %."
        )
    if "penalised_fail_decoder" in judged:
        # the paper does not state the strength of its penalties, so L0 shows how comparable the runs are
        l0 = plain[plain["table"].eq("table1") & plain["number"].eq("l0") & plain["method"].isin(PENALISED)]
        l0 = l0.dropna(subset=["ours"])
        at = f" (our L0: {span(l0['ours'])}; the paper’s: {span(l0['paper'])})" if len(l0) else ""
        sentences.append(
            f"Decoders recover {judged['penalised_fail_decoder']} % of the features even for ReLU and JumpReLU, which "
            f"fail in the paper{at}."
        )
    failed = verdicts[verdicts["verdict"].eq(NOT_REPRODUCED)]
    if len(failed):
        matches = failed[failed["reproduced_under"].fillna("").str.contains(f"decoder, {Similarity.COSINE}")]
        mip = int(matches["number"].eq("mip").sum())
        sentences.append(
            f"{len(matches)} of the numbers that we could not reproduce match our decoders instead of our "
            f"encoders, under one reading or another{f'; {mip} of these are MIPs' if mip else ''}."
        )
    beside = [f"anchoring_recovery_{side}not_given" for side in ("", "decoder_")]
    if set(beside) <= set(judged.index):
        encoder, decoder = judged[beside]
        sentences.append(
            f"Anchoring some features changes the recovery of the others by {encoder} points in the encoder and "
            f"{decoder} points in the decoder."
        )
    return [
        re.sub(r"-?\d+\.\d+", lambda text: f"{float(text[0]):.3g}".replace("-", "−"), sentence)
        for sentence in sentences
    ]


def verdicts_markdown(verdicts: pd.DataFrame) -> str:
    """Return the verdicts on numbers as GitHub-flavoured Markdown."""
    table = verdict_table(verdicts)
    return table._replace(caption=f"{CAPTION} {counts_sentence(verdicts)}").markdown()


def claims_markdown(claims: pd.DataFrame) -> str:
    """Return the verdicts on claims as GitHub-flavoured Markdown, a table for each claim."""
    parts = [f"{CLAIMS_CAPTION} The CSV file beside has the numbers of each method.\n"]
    heads = ["Measured", "Verdict", "Our runs", "The paper's tables"]
    for quote, section, statements in claim_groups(claims):
        rows = [
            [statement.what, f"**{statement.verdict}**", statement.ours.short, statement.paper.short]
            for statement in statements
        ]
        table = TextTable(f"### “{quote}” ({section})", pd.DataFrame(rows, columns=heads), len(heads))
        parts.append(table.markdown())
    return "\n".join(parts)


def _text(means: object) -> str:
    """Return means as text. A column of single numbers is read from a file as floats."""
    return means if isinstance(means, str) else f"{means:.4g}"


def _nonempty(texts: pd.Series) -> pd.Series:
    """Return a mask of the texts that are not empty. Empty texts are read from a file as NaN."""
    return texts.fillna("").ne("")


def _joined(*parts: Any) -> str:
    """Join texts with semicolons. Empty texts, which are read from a file as NaN, are left out."""
    return "; ".join(part for part in parts if isinstance(part, str) and part)
