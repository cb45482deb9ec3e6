"""Verdicts as people read them: Markdown, and the counts that a report begins with."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from sdlcore.evaluation.metrics import COSINE
from sdlcore.study.rendering.text_table import TextTable
from sdlcore.study.verdicts.claim_rule import BLIND, FAILS, HOLDS, OPEN, PARTLY, span
from sdlcore.study.verdicts.contradictions import WRONG
from sdlcore.study.verdicts.evidence import PROTOCOL
from sdlcore.study.verdicts.judging import (
    INCONSISTENT,
    NOT_READ,
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    UNDECIDED,
    VERDICTS,
)
from sdlcore.study.verdicts.paper import MEASURES, describe
from sdlcore.study.verdicts.readings import JUDGED

CAPTION = (
    "A verdict on each number of the paper's Tables 1, 2 and 4 to 7, under the reading that the later revision "
    "states: rows of the encoder, inner products, tau = .95; Table 1's anchored rows on the 970 features that are "
    "not among 30 anchors. Reproduced: the number lies in the 95 % prediction interval of our seeds, widened to at "
    "least 2 points of recovery, .02 of MIP and 5 % of L0, at the paper's scale, under the protocol paper; of one "
    "seed, the interval is that tolerance. Inconsistent in the paper: under every listed reading it contradicts "
    "other numbers of the paper, or what it is defined as. Beside the reason: the other readings that reproduce a "
    "number, of how many that were tried. Enough readings make anything reproducible."
)
CLAIMS_CAPTION = (
    "A verdict on claims that the paper makes in words. A claim holds where the 95 % t interval over seeds of all that "
    "it speaks of lies where the claim says, and does not where one of them lies elsewhere, at the paper's scale, "
    "under the protocol paper and the later revision's reading (inner products of encoder rows, tau = .95). It is "
    "not decided where an interval lies on both sides, and where a difference has fewer than three seeds; a number "
    "of fewer has the tolerance of verdicts on numbers. Runs cannot tell where both sides of a difference stand at 0 "
    "or at 100 % in every seed. Beside it, whether the paper's own tables bear it out, as printed, which is no "
    "replication."
)

PENALISED = ("ReLU SAE", "JumpReLU SAE")
NEARLY_ALL = 98
"""Recovery in per cent that a dictionary of all features reproduces, within the tolerance of 2 points."""


def counts(verdicts: pd.DataFrame) -> list[tuple[str, int]]:
    """Return each verdict on numbers and how many numbers have it, none left out."""
    return [(verdict, int((verdicts["verdict"] == verdict).sum())) for verdict in VERDICTS]


def counts_sentence(verdicts: pd.DataFrame) -> str:
    """Return the counts as a sentence, with how many readings were tried."""
    wrong = int(_said(verdicts["contradiction"]).sum())
    kinds = Counter(kind for text in verdicts["contradiction"].fillna("") for kind in text.split(", ") if kind)
    told = ", ".join(f"{count} {WRONG[kind]}" for kind, count in kinds.items())
    found = f"{wrong} of the paper’s {len(verdicts)} numbers are inconsistent under every reading{told and ': '}{told}."
    if verdicts["verdict"].eq(NOT_RUN).all():
        return (
            f"{found} None was run at the paper’s scale here, so none is judged; what the runs of this page say stands "
            "beside."
        )
    counted = dict(counts(verdicts))
    zeros = int((verdicts["verdict"].eq(REPRODUCED) & verdicts["paper"].eq(0)).sum())
    noughts = {REPRODUCED: f" ({zeros} of them a 0)"} if zeros else {}
    parts = (f"{count} {verdict}{noughts.get(verdict, '')}" for verdict, count in counted.items())
    said = f"{found} By runs, under the reading of the {JUDGED}: {', '.join(parts)}."
    if 0 < (judged := counted[INCONSISTENT]) < wrong:
        said += f" Of the {wrong} that are inconsistent, {wrong - judged} were not run."
    others = verdicts[verdicts["verdict"].isin([NOT_REPRODUCED, NOT_READ])]
    if len(others):
        elsewhere = others[_said(others["reproduced_under"])]
        said += (
            f" Of the {len(others)} that are not reproduced or not run under this reading, {len(elsewhere)} are "
            f"reproduced under another one, of up to {int(others['readings'].max())} readings tried for each"
            f"{': ' if len(elsewhere) else ''}{_kinds(elsewhere)}."
        )
    return said


def _kinds(numbers: pd.DataFrame) -> str:
    """Count numbers by difficulty: recoveries near 0 or 100 % are easy to reproduce, and so is a MIP."""
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


def verdict_rows(verdicts: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the readable table of numbers."""
    heads = ["Row", "Number", "Paper", "Ours", "Interval", "Seeds", "Verdict", "Why"]
    rows = []
    for _, row in verdicts.iterrows():
        measure = MEASURES[row["number"]]
        digits = 3 if row["number"] == "mip" else 2
        rows.append(
            [
                describe(row),
                measure.label,
                f"{row['paper']:.{digits}f}",
                "–" if math.isnan(row["ours"]) else f"{row['ours']:.{digits}f}",
                "" if math.isnan(row["low"]) else f"{row['low']:.{digits}f} to {row['high']:.{digits}f}",
                f"{row['seeds']}",
                row["verdict"],
                _joined(row["reason"], _readings(row), row["note"]),
            ]
        )
    return heads, rows


class Told(NamedTuple):
    """What is said of a claim: the first sentence, and all that follows."""

    short: str
    more: str


class Measured(NamedTuple):
    """One way in which a claim was measured."""

    what: str
    verdict: str
    ours: Told
    paper: Told


class ClaimGroup(NamedTuple):
    """A claim in the paper's words, and all ways in which it was measured."""

    quote: str
    section: str
    measured: list[Measured]


def claim_groups(claims: pd.DataFrame) -> list[ClaimGroup]:
    """Return the claims, those of the same words together, in their order."""
    groups: dict[tuple[str, str], ClaimGroup] = {}
    for _, row in claims.iterrows():
        evidence, reason, notes = (_joined(row[name]) for name in ("evidence", "reason", "note"))
        short, _, more = evidence.partition(". ")
        # what other protocols say, in a word each: "protocol best: holds, 7 of 7 above 0, ..."
        others = [note.split(",")[0] for note in notes.split("; ") if note.startswith("protocol ")]
        readings = _joined(row["other_readings"])
        under = f"other readings: {readings}" if readings else ""
        ours = Told(_joined(short, *others), _joined(more, f"not judged: {reason}" if reason else "", under, notes))
        short, _, more = str(row["paper"]).partition(". ")
        key = str(row["quote"]), str(row["section"])
        group = groups.setdefault(key, ClaimGroup(*key, []))
        group.measured.append(Measured(str(row["measured"]), str(row["verdict"]), ours, Told(short, more)))
    return list(groups.values())


_OWN = {
    "borne out": "say so",
    "not borne out": "say otherwise",
    "no number": "have no number",
    BLIND: BLIND,
}
"""What the paper's own tables do with a claim -> the word for it where nothing may look like a replication."""
_NUMBERS = re.compile(r"-?\d+\.\d+")
_NOT_RUN = "not run"
_MIXED = "mixed"


class GlancedClaim(NamedTuple):
    """A claim in the paper's words, and where they stand."""

    quote: str
    section: str
    verdicts: list[str]
    """On all of its statements together, one a heading."""
    rows: list[list[str]]
    """A statement each, and a verdict a heading."""


class AtAGlance(NamedTuple):
    """What is to be said of all claims before any number."""

    counts: list[tuple[str, int]]
    """Each verdict that some claim has, and how many have it."""
    named: list[tuple[str, list[str]]]
    """Each verdict that runs decide, and the claims that have it, in the paper's words."""
    heads: list[str]
    claims: list[GlancedClaim]


def at_a_glance(claims: pd.DataFrame, here: bool = False) -> AtAGlance:
    """Return the verdicts on claims without numbers, one a claim, made of those on its statements.

    Parameters
    ----------
    claims
        As `claim_rule.claims` returns them.
    here
        Whether by runs at whatever scale they have, instead of those at the paper's.
    """
    verdicts = _shown(claims, "here" if here else "verdict")
    own = [_OWN[str(text).partition(":")[0]] for text in claims["paper"]]
    groups: dict[tuple[str, str], list[list[str]]] = {}
    for quote, section, *row in zip(claims["quote"], claims["section"], claims["measured"], verdicts, own, strict=True):
        groups.setdefault((str(quote), str(section)), []).append([str(text) for text in row])
    found = [
        GlancedClaim(*claim, [_together(verdicts) for verdicts in list(zip(*rows, strict=True))[1:]], rows)
        for claim, rows in groups.items()
    ]
    # what nobody ran to its end must not hide what was
    found.sort(key=lambda claim: claim.verdicts[0] in (_NOT_RUN, PARTLY))
    by_verdict = {
        kind: [claim.quote for claim in found if claim.verdicts[0] == kind]
        for kind in (HOLDS, _MIXED, FAILS, OPEN, BLIND, PARTLY, _NOT_RUN)
    }
    return AtAGlance(
        [(kind, len(quotes)) for kind, quotes in by_verdict.items() if quotes],
        [(kind, quotes) for kind, quotes in by_verdict.items() if quotes and kind not in (PARTLY, _NOT_RUN)],
        ["Claim, and the statements that it is put as", "Our runs", "The paper’s own tables"],
        found,
    )


def in_short(verdicts: pd.DataFrame, claims: pd.DataFrame) -> list[str]:
    """Return what runs at the paper's scale say of encoders, decoders and anchors, a sentence each.

    Parameters
    ----------
    verdicts, claims
        As the rules return them, or read from their files. What they do not judge is left out.
    """
    ran = verdicts[
        verdicts["verdict"].isin([REPRODUCED, NOT_REPRODUCED, INCONSISTENT])
        & verdicts["number"].str.startswith("gt_recovery")
    ]
    judged = claims[~claims["verdict"].isin(UNDECIDED)].set_index("claim")
    without = ran[ran["anchoring"].eq("none")]
    failing, beside, beside_decoder = (
        _means(judged, name)
        for name in ("penalised_fail_decoder", "anchoring_recovery_not_given", "anchoring_recovery_decoder_not_given")
    )
    told = []
    if len(without):
        told.append(
            f"By the paper’s own measure, our encoders recover {span(without['ours'])} % of the features without "
            f"anchors; the paper reports {span(without['paper'])} %."
        )
    if failing:
        told.append(
            f"Decoders recover {failing} % of the features even for ReLU and JumpReLU, which fail in the paper"
            f"{_at_sparsity(verdicts)}."
        )
    if verdicts["verdict"].eq(NOT_REPRODUCED).any():
        of_decoders = _of_decoders(verdicts)
        mip = int(of_decoders["number"].eq("mip").sum())
        told.append(
            f"{len(of_decoders)} of the numbers that we could not reproduce match our decoders instead of our "
            f"encoders, under one reading or another{f'; {mip} of these are MIPs' if mip else ''}."
        )
    if beside and beside_decoder:
        told.append(
            f"Anchoring some features changes the recovery of the others by {beside} points in the encoder and "
            f"{beside_decoder} points in the decoder."
        )
    return [_NUMBERS.sub(lambda text: f"{float(text[0]):.3g}".replace("-", "−"), sentence) for sentence in told]


def _at_sparsity(verdicts: pd.DataFrame) -> str:
    """Say at which L0 ReLU and JumpReLU are compared, since how much they are penalised the paper does not say."""
    of_table_1 = verdicts["table"].eq("table1") & verdicts["anchoring"].eq("none") & verdicts["number"].eq("l0")
    l0 = verdicts[of_table_1 & verdicts["method"].isin(PENALISED)].dropna(subset=["ours"])
    if l0.empty:
        return ""
    return f" (our L0: {span(l0['ours'])}; the paper’s: {span(l0['paper'])})"


def _means(claims: pd.DataFrame, name: str) -> str:
    """Return the means that stand beside a claim's verdict, nothing where it has none."""
    return _text(claims.loc[name, "means"]) if name in claims.index else ""


def _text(means: object) -> str:
    """Return means as text: a file's column of single numbers comes as floats."""
    return means if isinstance(means, str) else f"{means:.4g}"


def _of_decoders(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers that our encoders do not reproduce but our decoders do, by cosines."""
    under = verdicts["reproduced_under"].fillna("").str.contains(f"decoder, {COSINE}")
    return verdicts[verdicts["verdict"].eq(NOT_REPRODUCED) & under]


def _said(texts: pd.Series) -> pd.Series:
    """Tell which texts are not empty; out of a file, such come as NaN."""
    return texts.fillna("").ne("")


def _readings(row: Any) -> str:
    """Say which readings reproduce a number, of how many."""
    if not row["readings"]:
        return ""
    tried, under = f"{row['readings']:.0f} tried", row["reproduced_under"]
    return f"readings that reproduce it: {under if isinstance(under, str) and under else 'none'} ({tried})"


def verdicts_markdown(verdicts: pd.DataFrame) -> str:
    """Return the verdicts on numbers as GitHub-flavoured Markdown."""
    return _markdown(f"{CAPTION} {counts_sentence(verdicts)}", *verdict_rows(verdicts))


def claims_markdown(claims: pd.DataFrame) -> str:
    """Return the verdicts on claims as GitHub-flavoured Markdown, a table a claim."""
    parts = [f"{CLAIMS_CAPTION} The CSV file beside has the numbers of each method.\n"]
    heads = ["Measured", "Verdict", "Our runs", "The paper's tables"]
    for quote, section, measured in claim_groups(claims):
        rows = [[what, f"**{verdict}**", ours.short, paper.short] for what, verdict, ours, paper in measured]
        parts.append(_markdown(f"### “{quote}” ({section})", heads, rows))
    return "\n".join(parts)


def _together(verdicts: Sequence[str]) -> str:
    """Return one verdict on a claim's statements: what is said of all, or that it is mixed."""
    kinds = {verdict.partition(" (")[0] for verdict in verdicts}
    return kinds.pop() if len(kinds) == 1 else _MIXED


def _shown(claims: pd.DataFrame, name: str) -> list[str]:
    """Return verdicts, by what means over how many seeds, and the protocol where it is not the paper's.

    What a file lacks is NaN.
    """
    shown = []
    columns = (claims[column] for column in (name, "seeds", "protocol", "means"))
    for verdict, seeds, protocol, means in zip(*columns, strict=True):
        if not isinstance(verdict, str) or verdict in ("", *UNDECIDED, PARTLY):
            shown.append(PARTLY if verdict == PARTLY else _NOT_RUN)
            continue
        by = f"{seeds:.0f} seed{'s' if seeds > 1 else ''}"
        shown.append(f"{verdict} ({_joined(_text(means), by, protocol if protocol != PROTOCOL else '')})")
    return shown


def _markdown(caption: str, heads: list[str], rows: list[list[str]]) -> str:
    cells = [[text.replace("|", "\\|") for text in row] for row in rows]
    return TextTable(caption, pd.DataFrame(cells, columns=heads), len(heads)).markdown()


def _joined(*parts: Any) -> str:
    """Return texts as one, without those that are empty; out of a file, such come as NaN."""
    return "; ".join(part for part in parts if isinstance(part, str) and part)
