"""Settings of a solver run."""

from typing import Annotated, ClassVar, Literal, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, WithJsonSchema

from sdlcore.config import MOST_SWEEPS
from sdlcore.plugins.registry import Extension, Kind, Pluggable, check_name, registered
from sdlcore.settings import AsGiven, BatchSize, Conflicts, LatentCount, Pair, Positive, Precision, Total, Weight

Solver = Literal["acs", "ksvd", "odl", "kmeans"]
"""The built-in solvers; each is a module in `sdlcore.solvers`."""
AnySolver = Annotated[
    str,
    AfterValidator(lambda name: check_name("solver", name, get_args(Solver))),
    WithJsonSchema({"type": "string", "enum": [*get_args(Solver)]}),
]
"""Name of a built-in solver or of a plugin's."""
MIN_COSINE = 0.9
"""Default of the smallest cosine at which directions of two searches count as the same (`sdlcore.solvers.stable`)."""


class SolverConfig(Pluggable):
    """Settings of a dictionary search. The defaults suit all benches, although they depend neither on n nor on the
    sparsity."""

    always_given: ClassVar[tuple[str, ...]] = ("solver",)
    kinds: ClassVar[tuple[Kind, ...]] = ("solver",)

    solver: AnySolver = "acs"
    """The solver that replaces gradient descent (docs/solvers.md). acs: alternating convex search; ksvd: approximate
    K-SVD; odl: scikit-learn's online dictionary learning; kmeans: its mini-batch k-means; or a plugin's solver."""
    pair: Pair = "sae"
    """sae, transcoder or crosscoder. The atoms belong to x_r, the encoder reads x_p."""
    n_atoms: LatentCount = 2000
    """Number of initial atoms. acs prunes atoms that the data do not need; other solvers keep all."""
    support: LatentCount = 16
    """Largest number of active atoms per sample, at the start. They are the atoms of largest correlation."""
    max_support: LatentCount = 64
    """Limit for the growth of `support`, which doubles while nearly all codes of a support are nonzero."""
    sweeps: Annotated[int, Ge(1), Le(MOST_SWEEPS)] = 8
    """Passes of coordinate descent over a sample's support."""
    batch_size: BatchSize = 8192
    """Samples per step, at most the whole store."""
    max_steps: Total = 40
    """Largest number of steps, even if the solver has not settled."""
    tolerance: Annotated[float, Gt(0), Lt(1), AsGiven] = 0.02
    """A solver has settled if, over three steps, the reconstruction error fell by less than this share, and the number
    of atoms changed by less than a tenth of this share."""
    threshold: Weight = 0.0
    """Share of the universal noise threshold sigma sqrt(2 ln K). Above 0, supports are chosen a second time from the
    residuals of the first codes, and codes below this share of the threshold are dropped. 0 turns both off."""
    forgetting: Annotated[float, Ge(0), Lt(1), AsGiven] = 0.5
    """Weight of all previous batches relative to the newest in the normal equations."""
    ridge: Positive = 1e-4
    """Weight of the penalty on moving an atom, as a share of an atom's typical sum of squared codes."""
    min_worth: Annotated[float, Ge(0), Lt(1), AsGiven] = 0.05
    """Atoms are removed if the error would grow without them by less than this share of the typical increase."""
    replace_steps: Annotated[int, Ge(0), Le(10**12)] = 4
    """Number of first steps that replace a removed atom by the residual of a badly reconstructed sample."""
    l1: Weight = 0.1
    """Weight of odl's lasso (scikit-learn's alpha)."""
    precision: Precision = "float32"
    """Type of the product that selects supports, float32 or bfloat16; codes are always float32."""
    normalise: bool = False
    """Centre activations and scale them to a mean norm of sqrt(dimension); folded into the saved weights."""
    encoder_ridge: Positive = 1e-3
    """Ridge of the regression of codes on inputs, as a share of the mean variance of an input dimension. It turns
    encoder rows as much as noise of that variance would (docs/inside-a-model.md)."""

    def conflicts(self) -> Conflicts:
        yield self.support > self.n_atoms, f"support must be at most n_atoms = {self.n_atoms}, found {self.support}"
        yield (
            self.solver == "acs" and self.max_support < self.support,
            f"max_support must be at least support = {self.support}, found {self.max_support}",
        )

    def used_plugins(self) -> list[Extension]:
        """Return the plugin of the solver, or none."""
        plugin = registered("solver", self.solver)
        return [] if plugin is None else [plugin]
