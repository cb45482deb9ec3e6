"""The one rule that all claims are judged by, on our runs and on the paper's own numbers."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from sdlcore.evaluation.metrics import COSINE, INNER
from sdlcore.study.results.tables import paired_interval
from sdlcore.study.verdicts.claims import CLAIMS, Band, Claim
from sdlcore.study.verdicts.contradictions import TOLERANCE
from sdlcore.study.verdicts.contrasts import Contrast, Lookup, Under, by_text, papers_numbers, runs_of
from sdlcore.study.verdicts.evidence import MISSING, PROTOCOL, Evidence
from sdlcore.study.verdicts.judging import NOT_READ, NOT_RUN
from sdlcore.study.verdicts.paper import MEASURES
from sdlcore.study.verdicts.readings import JUDGED, TAUS, Reading

HOLDS = "holds"
FAILS = "does not hold"
OPEN = "not decided"
BLIND = "cannot tell"

CLAIM_COLUMNS = [
    "claim",
    "section",
    "quote",
    "measured",
    "reading",
    "verdict",
    "here",
    "seeds",
    "protocol",
    "means",
    "evidence",
    "reason",
    "paper",
    "other_readings",
    "note",
]
PARTLY = "partly run"
"""Said of runs that are no whole: some of what a claim compares is there, some is not."""
NAMED = 4
"""Contrasts that a sentence names; of more, it says how many."""
REASONS = 4

OWN = {HOLDS: "borne out", FAILS: "not borne out", OPEN: "not borne out"}
"""What the paper's own tables say of a claim -> the words for it, where nothing may look like a replication."""


def _taken(similarity: str, tau: float, table: str) -> Reading:
    return by_text(table)._replace(tau=tau, recovery=similarity, mip=similarity)


OTHER_READINGS: dict[str, Under] = {
    f"{similarity}, tau = {tau:g}": partial(_taken, similarity, tau) for similarity in (COSINE, INNER) for tau in TAUS
}
"""Cosines first: under every reading decoders are compared by them, and the first to look at a number names it."""

Interval = Callable[[np.ndarray], tuple[float, float, float]]


class Finding(NamedTuple):
    """What contrasts say of a claim, and the sentence with the numbers."""

    verdict: str
    sentence: str
    means: str
    """Over seeds, the least and the largest of contrasts."""


def judge(contrasts: Sequence[Contrast], band: Band, interval: Interval = paired_interval) -> Finding:
    """Return whether every contrast lies in a band.

    Parameters
    ----------
    contrasts
        At least one, each with at least one value.
    band
        Where the claim says that they are.
    interval
        Mean and interval of a contrast's values; by default the 95 % t interval over seeds, NaN below three. A number's
        interval ends where the number can, and below three seeds it is the value and the tolerance that verdicts on
        numbers have.

    Returns
    -------
    Finding
        The claim fails if some interval lies outside of the band altogether, is not decided if some lies on both sides,
        cannot tell if both sides of some difference, or of a change that it compares, stand at the same end, 0 or
        100 %, in every seed, or if the paper's number would lie in the band before it was rounded, and holds else.
        These are many intervals at once, none corrected for that: to hold, a claim needs all of them.
    """
    sides: dict[str, list[str]] = {HOLDS: [], FAILS: [], OPEN: [], BLIND: []}
    means, unknown, tolerated = [], False, False
    for contrast in contrasts:
        label, observed, number = contrast
        # binary dust of differences must not decide
        mean, low, high = (float(np.round(bound, 9)) for bound in interval(observed.values.to_numpy()))
        if number:
            if math.isnan(low):
                low, high = mean - TOLERANCE[number], mean + TOLERANCE[number]
                tolerated = True
            low, high = max(low, 0.0), min(high, MEASURES[number].most)
        inside, outside = band.low <= low and high <= band.high, high < band.low or low > band.high
        # rounding must accuse none
        near = outside and band.low <= high + observed.rounding and low - observed.rounding <= band.high
        unknown |= math.isnan(low) and not contrast.blind
        told = f"{mean:.4g}" + (f" ({low:.4g} to {high:.4g})" if low < high else "")
        if contrast.blind:
            told = f"(both sides{' of a change' if observed.order > 1 else ''} {observed.end:g} % in every seed)"
        elif near:
            told += " (by rounded numbers)"
        blind = contrast.blind or near
        sides[BLIND if blind else HOLDS if inside else FAILS if outside else OPEN].append(f"{label} {told}")
        means.append(mean)
    verdict = next((side for side in (FAILS, OPEN, BLIND) if sides[side]), HOLDS)
    spread = span(means)
    sentence = f"{len(sides[HOLDS])} of {len(means)} {band.label}, mean{'' if len(set(means)) == 1 else 's'} {spread}"
    for side, what in ((FAILS, "Not"), (OPEN, "Undecided"), (BLIND, "Cannot tell")):
        if sides[side]:
            sentence += f". {what}: {_first(sides[side], NAMED)}"
    if unknown:
        sentence += ". Below three seeds differences have no interval"
    if tolerated:
        sentence += ". Below three seeds a number's interval is its tolerance"
    return Finding(verdict, sentence, spread)


def span(values: Iterable[float]) -> str:
    """Return the least and the largest of values as text, one where they are the same."""
    values = list(values)
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"


def claims(numbers: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    """Return a verdict on each claim.

    Parameters
    ----------
    numbers
        The paper's own, as `paper.read_numbers` returns them.
    evidence
        Our runs.

    Returns
    -------
    DataFrame
        One row a claim with the columns `CLAIM_COLUMNS`: ``verdict`` is one of `HOLDS` to `NOT_RUN`, by our runs at
        the paper's scale under the protocol ``paper`` (Figure 6's under its own) and under ``reading``; ``here`` what
        it would be by the runs that there are, whatever their scale, `PARTLY` where some are missing, empty where all
        are, and ``seeds`` how many each number has at least and under which ``protocol``, empty for several; ``means``
        the least and the largest of what is compared, recovery in per cent; ``evidence`` the numbers in a sentence;
        ``reason`` what keeps runs from being judged, and what they say where they are; ``paper`` whether the paper's
        own tables bear the claim out; ``other_readings`` the verdicts under other similarities and thresholds, where
        they are other numbers; ``note`` what other protocols say.
    """
    ours, own = runs_of(evidence), papers_numbers(numbers)
    protocols = dict.fromkeys(name for runs in evidence.runs.values() for name in runs["protocol"] if name != PROTOCOL)
    others = {protocol: runs_of(evidence, protocol=protocol) for protocol in protocols}
    readings = {label: runs_of(evidence, reading) for label, reading in OTHER_READINGS.items()}
    rows = []
    for claim in CLAIMS:
        contrasts = claim.contrasts(ours)
        empty = [contrast for contrast in contrasts if contrast.observed.values.empty]
        lacking = _told(empty or contrasts)
        partly = PARTLY if len(empty) < len(contrasts) else ""
        finding = Finding(partly, "", "") if empty else judge(contrasts, claim.band)
        if empty and not lacking:
            lacking = f"its runs have no value of {empty[0].label}"
        verdict, said = finding.verdict, finding.sentence
        elsewhere = list(_under(claim, ours, readings))
        if lacking:
            verdict = NOT_READ if elsewhere else NOT_RUN
            said = f"by the runs that there are: {finding.verdict}, {said}" if said else ""
        seeds = min(len(contrast.observed.values) for contrast in contrasts)
        names = {contrast.observed.protocol for contrast in contrasts}
        protocol = names.pop() if len(names) == 1 else ""
        told = said, lacking, _own(claim, own), "; ".join(elsewhere), "; ".join(_notes(claim, others))
        rows.append((*claim[:4], JUDGED, verdict, finding.verdict, seeds, protocol, finding.means, *told))
    return pd.DataFrame(rows, columns=CLAIM_COLUMNS)


def _told(contrasts: Sequence[Contrast]) -> str:
    """Return what keeps contrasts from being judged, the first few reasons of it; runs that are missing come first."""
    reasons = dict.fromkeys(reason for contrast in contrasts for reason in contrast.observed.lacking)
    return _first(sorted(reasons, key=lambda reason: not reason.startswith(MISSING)), REASONS)


def _first(parts: Sequence[str], most: int) -> str:
    rest = len(parts) - most
    return "; ".join([*parts[:most], *([f"and {rest} more"] if rest > 0 else [])])


def _own(claim: Claim, read: Lookup) -> str:
    """Say whether the paper's own tables bear a claim out."""
    contrasts = claim.contrasts(read)
    if any(contrast.observed.values.empty for contrast in contrasts):
        return "no number"
    found = judge(contrasts, claim.band, _as_printed)
    return f"{OWN.get(found.verdict, found.verdict)}: {found.sentence}"


def _under(claim: Claim, judged: Lookup, readings: Mapping[str, Lookup]) -> Iterator[str]:
    """Yield what runs say of a claim under other readings, each that looks at other numbers than those before it."""
    seen = [[contrast.observed.values.tolist() for contrast in claim.contrasts(judged)]]
    for label, read in readings.items():
        contrasts = claim.contrasts(read)
        values = [contrast.observed.values.tolist() for contrast in contrasts]
        if any(contrast.observed.values.empty or contrast.observed.lacking for contrast in contrasts) or values in seen:
            continue
        seen.append(values)
        found = judge(contrasts, claim.band)
        yield f"{label}: {found.verdict}, means {found.means}"


def _as_printed(values: np.ndarray) -> tuple[float, float, float]:
    return (float(values[0]),) * 3


def _notes(claim: Claim, others: Mapping[str, Lookup]) -> Iterator[str]:
    """Yield what other protocols say, of those that have all runs at the paper's scale."""
    for protocol, read in others.items():
        contrasts = claim.contrasts(read)
        if not any(contrast.observed.values.empty or contrast.observed.lacking for contrast in contrasts):
            found = judge(contrasts, claim.band)
            yield f"protocol {protocol}: {found.verdict}, {found.sentence}"
