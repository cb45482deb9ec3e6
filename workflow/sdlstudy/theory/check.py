"""Check every claim of the paper's theorems: one module per theorem or example."""

from sdlcore.random_streams import stream
from sdlstudy.theory import (
    appendix_f,
    example_3_5,
    example_3_8,
    theorem_3_1,
    theorem_3_2,
    theorem_3_3,
    theorem_3_4,
    theorem_3_7,
    theorem_3_10,
)
from sdlstudy.theory.claims import Claim, by_place


def check() -> list[Claim]:
    """Return every claim in the paper's order, with the same numbers at each call. Checking all claims takes half a
    minute on one core.

    Claims that share a random stream draw from it one after the other, so their order here decides their instances.
    """
    claims = []
    rng = stream(0, "theory", "approximation")
    drawn = theorem_3_1.draw(rng)
    claims += theorem_3_1.claims(drawn, rng)
    claims += theorem_3_2.exact_loss_claims(drawn, rng)
    claims += theorem_3_1.later_claims(drawn, rng)
    claims += theorem_3_2.claims(stream(0, "theory", "biconvexity"))

    rng = stream(0, "theory", "minima")
    growing, bench = theorem_3_3.growing(rng), theorem_3_3.paper_bench(stream(0, "theory", "bench"))
    claims += theorem_3_3.claims(growing, bench, rng)
    claims += theorem_3_4.claims(rng)
    claims += theorem_3_3.later_claims(bench, rng)

    rng = stream(0, "theory", "spurious")
    points = theorem_3_7.draw(rng)
    claims += example_3_5.claims(rng)
    claims += theorem_3_7.claims(points, rng)

    rng = stream(0, "theory", "absorption")
    groups = theorem_3_10.draw(rng)
    claims += example_3_8.claims(rng)
    claims += theorem_3_10.claims(groups, rng)
    claims += appendix_f.claims(stream(0, "theory", "certificate"))
    return by_place(claims)
