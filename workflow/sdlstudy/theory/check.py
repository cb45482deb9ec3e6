"""Check every claim of the paper's theorems: one module per theorem or example."""

from sdlcore.random_streams import stream
from sdlstudy.theory import (
    example_3_5,
    example_3_8,
    theorem_3_1,
    theorem_3_2,
    theorem_3_3,
    theorem_3_4,
    theorem_3_7,
    theorem_3_10,
)
from sdlstudy.theory.claims import Result


def check() -> list[Result]:
    """Return the result of every check, with the same numbers at each call, in half a minute on one core.

    Claims that share a random stream draw from it one after the other, so their order here decides their instances.
    """
    rng = stream(0, "theory", "approximation")
    drawn = theorem_3_1.draw(rng)
    claims = [*theorem_3_1.check(drawn, rng), theorem_3_2.check_exact_loss(drawn, rng)]
    claims += theorem_3_1.check_later(drawn, rng)
    claims += theorem_3_2.check(stream(0, "theory", "biconvexity"))

    rng = stream(0, "theory", "minima")
    growing, bench = theorem_3_3.growing(rng), theorem_3_3.paper_bench(stream(0, "theory", "bench"))
    claims += theorem_3_3.check(growing, bench, rng)
    claims += theorem_3_4.check(rng)
    claims.append(theorem_3_3.check_later(rng))

    rng = stream(0, "theory", "spurious")
    points = theorem_3_7.draw(rng)
    claims += example_3_5.check(rng)
    claims += theorem_3_7.check(points, rng)

    rng = stream(0, "theory", "absorption")
    groups = theorem_3_10.draw(rng)
    claims.append(example_3_8.check(rng))
    claims += theorem_3_10.check(groups, rng)
    return claims
