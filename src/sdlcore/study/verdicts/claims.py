"""The claims of the paper in words, as data: what is measured, and the band that it must lie in."""

from itertools import pairwise, product
from typing import NamedTuple

from sdlcore.evaluation.metrics import OTHERS, mip_name, recovery_name
from sdlcore.study.verdicts.contrasts import (
    Contrasts,
    beyond_anchors,
    changes,
    grid,
    levels,
    pairs,
    resampling,
    steps,
    steps_of_changes,
)

# a band's ends belong to it; what is above an end is so by more than rounding to nine decimals leaves
HAIR = 5e-10


class Band(NamedTuple):
    """An interval with its ends, and its name."""

    low: float
    high: float
    label: str


def above(least: float) -> Band:
    """Return all that is greater than a number."""
    return Band(least + HAIR, float("inf"), f"above {least:g}")


def below(most: float) -> Band:
    """Return all that is less than a number."""
    return Band(-float("inf"), most - HAIR, f"below {most:g}")


def between(least: float, most: float) -> Band:
    """Return all from one number to another."""
    return Band(least, most, f"from {least:g} to {most:g}")


class Claim(NamedTuple):
    """A claim, and how it is put to the test: every contrast must lie in the band."""

    name: str
    section: str
    quote: str
    measured: str
    band: Band
    contrasts: Contrasts


PENALISED = ("ReLU SAE", "JumpReLU SAE")
SELECTING = ("TopK SAE", "BatchTopK SAE", "Matryoshka SAE")
ALL = (*PENALISED, *SELECTING, "Transcoder", "Crosscoder")
BOTH = ("none", "anchored")
FEATURES = (800, 900, 1000, 1100, 1200, 1300, 1400)
INTERFERENCES = (0.05, 0.1, 0.2, 0.5)
# the paper's .005 and .1 are the probabilities that a feature is active
DENSE, SPARSE = 0.9, 0.995

# by cosines, at tau = .9; a reading turns them into its own
RECOVERY, MIP = recovery_name("encoder"), mip_name("encoder")
RECOVERY_OF_OTHERS, MIP_OF_OTHERS = recovery_name("encoder", features=OTHERS), mip_name("encoder", features=OTHERS)
DECODER, DECODER_OF_OTHERS = recovery_name("decoder"), recovery_name("decoder", features=OTHERS)
PERFECT = between(99.95, 100)


CONSISTENT = "consistently improves GT Recovery and Maximum Inner Product (MIP) across all SDL methods"
ON_CLIP = "feature anchoring consistently improves feature recovery"

CLAIMS = [
    Claim(
        "anchoring_recovery",
        "5.1, Table 1",
        CONSISTENT,
        "anchoring raises the recovery of all features, anchors included, which raise it by themselves (encoder)",
        above(0),
        changes(grid("table1", ALL), RECOVERY),
    ),
    Claim(
        "anchoring_recovery_not_given",
        "5.1, Table 1",
        CONSISTENT,
        "anchoring raises the recovery of features that are no anchors (encoder)",
        above(0),
        changes(grid("table1", ALL), RECOVERY_OF_OTHERS),
    ),
    Claim(
        "anchoring_recovery_decoder_not_given",
        "5.1, Table 1",
        CONSISTENT,
        "anchoring raises the recovery of features that are no anchors in the decoder",
        above(0),
        changes(grid("table1", ALL), DECODER_OF_OTHERS),
    ),
    Claim(
        "anchoring_mip",
        "5.1, Table 1",
        CONSISTENT,
        "anchoring raises the MIP over all features, anchors included, which raise it by themselves (encoder)",
        above(0),
        changes(grid("table1", ALL), MIP),
    ),
    Claim(
        "anchoring_mip_not_given",
        "5.1, Table 1",
        CONSISTENT,
        "anchoring raises the MIP over features that are no anchors (encoder)",
        above(0),
        changes(grid("table1", ALL), MIP_OF_OTHERS),
    ),
    Claim(
        "penalised_fail",
        "Appendix G",
        "The consistent failure of ReLU and JumpReLU SAEs without sufficient sparsity constraints",
        "without anchors, under penalties of ours, ReLU and JumpReLU recover next to nothing, at most 2 % (encoder)",
        between(0, 2),
        levels(grid("table1", PENALISED), RECOVERY),
    ),
    Claim(
        "penalised_fail_decoder",
        "Appendix G",
        "The consistent failure of ReLU and JumpReLU SAEs without sufficient sparsity constraints",
        "without anchors, under penalties of ours, ReLU and JumpReLU recover at most 2 % in the decoder",
        between(0, 2),
        levels(grid("table1", PENALISED), DECODER),
    ),
    Claim(
        "penalised_fail_alone",
        "Appendix G",
        "The consistent failure of ReLU and JumpReLU SAEs without sufficient sparsity constraints",
        "without anchors, under penalties of ours, they recover less than TopK, BatchTopK and Matryoshka (encoder)",
        below(0),
        steps(list(product(grid("table1", PENALISED), grid("table1", SELECTING))), RECOVERY),
    ),
    Claim(
        "superposition_none",
        "Appendix G, Table 4",
        "standard SAE training achieves 0% GT Recovery across all feature counts",
        "a ReLU SAE without anchors recovers next to nothing at each n, at most 2 % (encoder)",
        between(0, 2),
        levels(grid("table4", ["ReLU SAE"], FEATURES), RECOVERY),
    ),
    Claim(
        "superposition_perfect",
        "Appendix G, Table 4",
        "With feature anchoring, GT Recovery reaches 100% at n = 800",
        "a ReLU SAE with anchors recovers all features (encoder)",
        PERFECT,
        levels(grid("table4", ["ReLU SAE"], [800], ["anchored"]), RECOVERY),
    ),
    Claim(
        "superposition_falls",
        "Appendix G, Table 4",
        "As superposition increases, GT Recovery gradually decreases",
        "a ReLU SAE with anchors recovers less at each n than at the n before (encoder)",
        below(0),
        steps([(b, a) for a, b in pairwise(grid("table4", ["ReLU SAE"], FEATURES, ["anchored"]))], RECOVERY),
    ),
    Claim(
        "superposition_mip",
        "Appendix G, Table 4",
        "feature anchoring consistently improves Maximum Inner Product across all settings",
        "anchoring raises a ReLU SAE's MIP over all features, anchors included, at each n (encoder)",
        above(0),
        changes(grid("table4", ["ReLU SAE"], FEATURES), MIP),
    ),
    Claim(
        "interference_gain",
        "Appendix G, Table 5",
        "with improvements ranging from 2-7 percentage points",
        "anchoring raises the recovery of all features, anchors included, by 2 to 7 points at each M (encoder)",
        between(2, 7),
        changes(grid("table5", SELECTING, INTERFERENCES), RECOVERY),
    ),
    Claim(
        "interference_low",
        "Appendix G, Table 5",
        "performance degrades slightly at very low interference (M = 0.05)",
        "recovery is lower at M = .05 than at .1 and .2, with and without anchors (encoder)",
        below(0),
        steps(pairs("table5", SELECTING, 0.05, (0.1, 0.2), BOTH), RECOVERY),
    ),
    Claim(
        "interference_mip",
        "Appendix G, Table 5",
        "ReLU and JumpReLU SAEs [...] still show improved Maximum Inner Product",
        "anchoring raises the MIP over all features, anchors included, at each M (encoder)",
        above(0),
        changes(grid("table5", PENALISED, INTERFERENCES), MIP),
    ),
    Claim(
        "sparsity_most",
        "Appendix G, Table 6",
        "feature anchoring provides the most dramatic improvements",
        "anchoring raises recovery by more at S = .995, the paper's .005, than at .99 and .9 (encoder)",
        above(0),
        steps_of_changes(pairs("table6", (*PENALISED, *SELECTING), SPARSE, (0.99, DENSE)), RECOVERY),
    ),
    Claim(
        "sparsity_gain",
        "Appendix G, Table 6",
        "all TopK-family methods show 2-6 percentage point gains",
        "anchoring raises the recovery of all features by 2 to 6 points at S = .995, the paper's .005 (encoder)",
        between(2, 6),
        changes(grid("table6", SELECTING, [SPARSE]), RECOVERY),
    ),
    Claim(
        "sparsity_moderate",
        "Appendix G, Table 6",
        "performance drops significantly across all methods",
        "recovery is lower at S = .95, the paper's .05, which its table lacks, than at .99 (encoder)",
        below(0),
        steps(pairs("table6", (*PENALISED, *SELECTING), 0.95, [0.99]), RECOVERY),
    ),
    Claim(
        "sparsity_near_perfect",
        "Appendix G, Table 6",
        "TopK-family methods achieve near-perfect recovery (98.8%-99.7%)",
        "TopK, BatchTopK and Matryoshka recover 98.8 % at least at S = .9, with anchors or not (encoder)",
        between(98.8, 100),
        levels(grid("table6", SELECTING, [DENSE], BOTH), RECOVERY),
    ),
    Claim(
        "sparsity_matryoshka",
        "Appendix G, Table 6",
        "Matryoshka SAE benefits least from anchoring at extreme sparsity",
        "anchoring raises the recovery of TopK and BatchTopK by more than Matryoshka's, at S = .9 (encoder)",
        above(0),
        steps_of_changes(
            list(product(grid("table6", SELECTING[:2], [DENSE]), grid("table6", SELECTING[2:], [DENSE]))), RECOVERY
        ),
    ),
    Claim(
        "k_perfect",
        "Appendix G, Table 7",
        "achieve perfect (100%) GT Recovery at k = 32",
        "a TopK SAE recovers all features, with and without anchors (encoder)",
        PERFECT,
        levels(grid("table7", ["TopK SAE"], [32], BOTH), RECOVERY),
    ),
    Claim(
        "k_minimal",
        "Appendix G, Table 7",
        "with minimal difference between standard and anchored training",
        "anchoring changes the recovery of all features, anchors included, by 2 points at most at k = 64 (encoder)",
        between(-2, 2),
        changes(grid("table7", ["TopK SAE"], [64]), RECOVERY),
    ),
    Claim(
        "k_minimal_not_given",
        "Appendix G, Table 7",
        "with minimal difference between standard and anchored training",
        "anchoring changes the recovery of features that are no anchors by at most 2 points at k = 64 (encoder)",
        between(-2, 2),
        changes(grid("table7", ["TopK SAE"], [64]), RECOVERY_OF_OTHERS),
    ),
    Claim(
        "k_beneficial",
        "Appendix G, Table 7",
        "feature anchoring becomes beneficial again",
        "anchoring raises the recovery of all features, anchors included, at k = 128 (encoder)",
        above(0),
        changes(grid("table7", ["TopK SAE"], [128]), RECOVERY),
    ),
    Claim(
        "k_beneficial_not_given",
        "Appendix G, Table 7",
        "feature anchoring becomes beneficial again",
        "anchoring raises the recovery of features that are no anchors at k = 128 (encoder)",
        above(0),
        changes(grid("table7", ["TopK SAE"], [128]), RECOVERY_OF_OTHERS),
    ),
    Claim(
        "k_mip",
        "Appendix G, Table 7",
        "remains consistently high (> 0.985) across all settings",
        "a TopK SAE has an MIP above .985 at each k, with and without anchors (encoder)",
        above(0.985),
        levels(grid("table7", ["TopK SAE"], [32, 64, 128], BOTH), MIP),
    ),
    Claim(
        "clip_recovery",
        "5.2, Table 2",
        ON_CLIP,
        "anchoring raises the recovery of all class means, anchors included, which raise it by themselves (encoder)",
        above(0),
        changes(grid("table2", SELECTING), RECOVERY),
    ),
    Claim(
        "clip_recovery_not_given",
        "5.2, Table 2",
        ON_CLIP,
        "anchoring raises the recovery of class means that are no anchors (encoder)",
        above(0),
        changes(grid("table2", SELECTING), RECOVERY_OF_OTHERS),
    ),
    Claim(
        "clip_recovery_decoder_not_given",
        "5.2, Table 2",
        ON_CLIP,
        "anchoring raises the recovery of class means that are no anchors in the decoder",
        above(0),
        changes(grid("table2", SELECTING), DECODER_OF_OTHERS),
    ),
    Claim(
        "clip_beyond_anchors",
        "5.2, Table 2",
        ON_CLIP,
        "anchored dictionaries recover more class means than their anchors do, without any training (encoder)",
        above(0),
        beyond_anchors(grid("table2", SELECTING), RECOVERY),
    ),
    Claim(
        "clip_beyond_anchors_decoder",
        "5.2, Table 2",
        ON_CLIP,
        "anchored dictionaries recover more class means in the decoder than their anchors do",
        above(0),
        beyond_anchors(grid("table2", SELECTING), DECODER),
    ),
    Claim(
        "resampling_loss",
        "5.3, Figure 6",
        "escape spurious local minima, achieving lower final loss",
        "resampling lowers the training loss at the end, over the last tenth of the log; minima were not looked for",
        below(0),
        resampling(),
    ),
]
