"""The rule that judges claims, both by our runs and by the paper's own numbers."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from sdlcore import paired_interval
from sdlcore.evaluation.metric_names import Similarity
from sdlstudy.verdicts.claims import Band, Claim, Contrast
from sdlstudy.verdicts.contradictions import TOLERANCE
from sdlstudy.verdicts.evidence import MISSING, PROTOCOL, Evidence
from sdlstudy.verdicts.judging import NOT_READ, NOT_RUN
from sdlstudy.verdicts.observed import Lookup, Under, judged_reading, papers_numbers, runs_of
from sdlstudy.verdicts.paper import MEASURES
from sdlstudy.verdicts.readings import JUDGED, TAUS, Reading

HOLDS = "holds"
FAILS = "does not hold"
OPEN = "not decided"
BLIND = "cannot tell"
PARTLY = "partly run"
"""Verdict if only some of the runs that a claim compares exist."""

# the columns of claims.csv; `claims` explains them
CLAIM_COLUMNS = ["claim", "section", "quote", "measured", "reading", "verdict", "here", "seeds", "protocol"]
CLAIM_COLUMNS += ["means", "evidence", "reason", "paper", "other_readings", "note"]

NAMED, REASONS = 4, 4
"""How many contrasts and how many reasons a sentence lists. It only counts the rest."""

OWN = {HOLDS: "borne out", FAILS: "not borne out", OPEN: "not borne out"}
"""Verdict by the paper's own tables -> its wording. The words differ because checking printed numbers replicates
nothing."""


def _reading(similarity: str, tau: float, table: str) -> Reading:
    return judged_reading(table)._replace(tau=tau, recovery=similarity, mip=similarity)


OTHER_READINGS: dict[str, Under] = {
    f"{similarity}, tau = {tau:g}": partial(_reading, similarity, tau)
    for similarity in (Similarity.COSINE, Similarity.INNER)
    for tau in TAUS
}
"""Reading in words -> the reading of each table. Cosines come first, because only the first of several readings with
equal numbers is named, and decoders are always compared by cosines."""

Interval = Callable[[np.ndarray], tuple[float, float, float]]


class Finding(NamedTuple):
    """A verdict on some contrasts, and the numbers behind it."""

    verdict: str
    sentence: str
    means: str
    """Smallest and largest mean over seeds, as text."""


def judge(contrasts: Sequence[Contrast], band: Band, interval: Interval = paired_interval) -> Finding:
    """Judge a claim: whether every contrast is inside its band.

    Parameters
    ----------
    contrasts
        At least one, each with at least one value.
    band
        The interval that contains each contrast if the claim is true.
    interval
        Returns mean, lower and upper bound of values; by default the 95 % t interval over seeds, NaN below three seeds.
        A level's interval is cut off at the ends of its scale. Below three seeds a level has the interval mean -+
        `TOLERANCE`.

    Returns
    -------
    Finding
        The claim fails if an interval is outside of the band. Otherwise the claim is not decided if one interval is
        partly outside of the band. Otherwise the verdict is `BLIND` if a contrast is blind, or if a printed number
        outside of the band may have been inside before it was rounded. Otherwise the claim holds. The intervals are not
        corrected for multiple comparisons.
    """
    sides: dict[str, list[str]] = {HOLDS: [], FAILS: [], OPEN: [], BLIND: []}
    means, unknown, tolerated = [], False, False
    for contrast in contrasts:
        label, observed, number = contrast
        # floating-point errors of differences must not decide
        mean, low, high = (float(np.round(bound, 9)) for bound in interval(observed.values.to_numpy()))
        if number:
            if math.isnan(low):
                low, high = mean - TOLERANCE[number], mean + TOLERANCE[number]
                tolerated = True
            low, high = max(low, 0.0), min(high, MEASURES[number].most)
        inside, outside = band.low <= low and high <= band.high, high < band.low or low > band.high
        near = outside and band.low <= high + observed.rounding and low - observed.rounding <= band.high
        unknown |= math.isnan(low) and not contrast.blind
        range_text = f"{mean:.4g}" + (f" ({low:.4g} to {high:.4g})" if low < high else "")
        if contrast.blind:
            range_text = f"(both sides{' of a change' if observed.order > 1 else ''} {observed.end:g} % in every seed)"
        elif near:
            range_text += " (by rounded numbers)"
        side = BLIND if contrast.blind or near else HOLDS if inside else FAILS if outside else OPEN
        sides[side].append(f"{label} {range_text}")
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
    """Return the smallest and the largest value as text, or one number if they are equal."""
    values = list(values)
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"


def claims(numbers: pd.DataFrame, evidence: Evidence, listed: Iterable[Claim]) -> pd.DataFrame:
    """Return a verdict on each claim.

    Parameters
    ----------
    numbers
        The paper's numbers, as `paper.read_numbers` returns them.
    evidence
        Our runs.
    listed
        The claims to judge.

    Returns
    -------
    DataFrame
        One row for each claim with the columns `CLAIM_COLUMNS`.

        - ``verdict``: `HOLDS` to `NOT_RUN`, by our runs at the paper's scale under ``reading`` and the protocol
          ``paper`` (Figure 6 has a protocol of its own).
        - ``here``: the verdict by the existing runs, at any scale; `PARTLY` if some runs are missing, empty if all are.
          ``seeds`` is the smallest number of seeds of a contrast. ``protocol`` is the protocol of the runs, empty if
          there are several.
        - ``means``: the smallest and the largest of the quantities compared, in per cent for recovery. ``evidence``
          gives the numbers in a sentence.
        - ``reason``: why the runs cannot be judged.
        - ``paper``: whether the paper's own tables bear the claim out.
        - ``other_readings``: verdicts under other similarities and thresholds, if their numbers differ.
        - ``note``: verdicts by runs of other protocols.
    """
    ours, papers = runs_of(evidence), papers_numbers(numbers)
    protocols = dict.fromkeys(name for runs in evidence.runs.values() for name in runs["protocol"] if name != PROTOCOL)
    other_protocols = {protocol: runs_of(evidence, protocol=protocol) for protocol in protocols}
    readings = {label: runs_of(evidence, reading) for label, reading in OTHER_READINGS.items()}
    rows = []
    for claim in listed:
        contrasts = claim.test.contrasts(ours)
        empty = [contrast for contrast in contrasts if contrast.observed.values.empty]
        lacking = _reasons(empty or contrasts)
        partly = PARTLY if len(empty) < len(contrasts) else ""
        finding = Finding(partly, "", "") if empty else judge(contrasts, claim.test.band)
        if empty and not lacking:
            lacking = f"its runs have no value of {empty[0].label}"
        verdict, sentence = finding.verdict, finding.sentence
        elsewhere = list(_under(claim, contrasts, readings))
        if lacking:
            verdict = NOT_READ if elsewhere else NOT_RUN
            sentence = f"by the runs that there are: {finding.verdict}, {sentence}" if sentence else ""
        seeds = min(len(contrast.observed.values) for contrast in contrasts)
        names = {contrast.observed.protocol for contrast in contrasts}
        protocol = names.pop() if len(names) == 1 else ""
        notes = "; ".join(_notes(claim, other_protocols))
        texts = sentence, lacking, _papers_verdict(claim, papers), "; ".join(elsewhere), notes
        what = claim.name, claim.section, claim.quote, claim.measured
        rows.append((*what, JUDGED, verdict, finding.verdict, seeds, protocol, finding.means, *texts))
    return pd.DataFrame(rows, columns=CLAIM_COLUMNS)


def _reasons(contrasts: Sequence[Contrast]) -> str:
    """Return the first `REASONS` reasons why contrasts cannot be judged; missing runs come first."""
    reasons = dict.fromkeys(reason for contrast in contrasts for reason in contrast.observed.lacking)
    return _first(sorted(reasons, key=lambda reason: not reason.startswith(MISSING)), REASONS)


def _first(parts: Sequence[str], most: int) -> str:
    n_more = len(parts) - most
    return "; ".join([*parts[:most], *([f"and {n_more} more"] if n_more > 0 else [])])


def _papers_verdict(claim: Claim, read: Lookup) -> str:
    """Return in words whether the paper's own tables bear a claim out."""
    contrasts = claim.test.contrasts(read)
    if any(contrast.observed.values.empty for contrast in contrasts):
        return "no number"
    finding = judge(contrasts, claim.test.band, lambda values: (float(values[0]),) * 3)
    return f"{OWN.get(finding.verdict, finding.verdict)}: {finding.sentence}"


def _under(claim: Claim, judged: Sequence[Contrast], readings: Mapping[str, Lookup]) -> Iterator[str]:
    """Yield the verdict under each other reading whose numbers differ from the numbers of all readings before."""
    earlier_values = [[contrast.observed.values.tolist() for contrast in judged]]
    for label, read in readings.items():
        contrasts = claim.test.contrasts(read)
        values = [contrast.observed.values.tolist() for contrast in contrasts]
        if _complete(contrasts) and values not in earlier_values:
            earlier_values.append(values)
            finding = judge(contrasts, claim.test.band)
            yield f"{label}: {finding.verdict}, means {finding.means}"


def _notes(claim: Claim, other_protocols: Mapping[str, Lookup]) -> Iterator[str]:
    """Yield the verdict under each other protocol whose runs are complete and at the paper's scale."""
    for protocol, read in other_protocols.items():
        contrasts = claim.test.contrasts(read)
        if _complete(contrasts):
            finding = judge(contrasts, claim.test.band)
            yield f"protocol {protocol}: {finding.verdict}, {finding.sentence}"


def _complete(contrasts: Sequence[Contrast]) -> bool:
    return not any(contrast.observed.values.empty or contrast.observed.lacking for contrast in contrasts)
