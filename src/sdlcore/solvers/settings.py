"""Settings of a solver's run: one frozen dataclass, flat like those of `sdlcore.run`."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

from annotated_types import Ge, Gt, Le, Lt

from sdlcore.plugins.extensible import Extensible, parts_of
from sdlcore.plugins.names import Name
from sdlcore.plugins.registry import Kind, registered
from sdlcore.run import Activation
from sdlcore.settings import Batch, Latents, Pair, Positive, Precision, Total, Weight, check, used_by

Solver = Literal["acs", "ksvd", "odl", "kmeans", "dbksvd"]
"""Each is a module in `sdlcore.solvers`."""
AnySolver = Annotated[str, Name("solver", get_args(Solver))]
"""One of these, or of a plugin."""
MIN_COSINE = 0.9
"""Default of the cosine above which directions of two searches count as the same (`sdlcore.solvers.stable`)."""
Encoder = Literal["regression", "tied", "covariance", "pursuit"]


@dataclass(frozen=True)
class SolverConfig(Extensible):
    """How a dictionary is solved for. One setting serves all benches; it knows neither n nor the sparsity."""

    called: ClassVar[str] = "settings of a solver"
    extended_by: ClassVar[Kind] = "solver"

    solver: AnySolver = "acs"
    """What solves for the dictionary in place of gradient descent (docs/solvers.md). acs: alternating convex search;
    ksvd: approximate K-SVD; odl: scikit-learn's online dictionary learning; kmeans: its mini-batch k-means; dbksvd:
    double-batch K-SVD; or one of a plugin."""
    pair: Pair = "sae"
    """sae, transcoder or crosscoder. The dictionary is that of x_r, the encoder reads x_p."""
    n_atoms: Latents = 2000
    """Atoms at the start; acs leaves those that the data need, the others keep them all."""
    support: Latents = 16
    """Most active atoms of a sample, at the start: those of largest correlation."""
    max_support: Latents = used_by("solver", "acs", default=64)
    """What that may grow to. It doubles while hardly any code of a support is zero, so that more would be active."""
    sweeps: Batch = 8
    """Times that coordinate descent goes over a sample's support."""
    batch_size: Batch = 8192
    """Samples of a step, or the whole store where it has fewer."""
    max_steps: Total = 40
    """Steps after which a solver stops though it has not settled."""
    tolerance: Annotated[float, Gt(0), Lt(1)] = 0.02
    """A solver has settled when reconstruction error has changed by less than this share, and its atoms by less than a
    tenth of it, over `patience` steps."""
    patience: Batch = 3
    """Steps over which a solver must have settled."""
    threshold: Weight = used_by("solver", "acs", default=0.0)
    """With a value, supports are chosen a second time, by what the first codes leave of a sample, and codes go that are
    below this share of what noise alone gives the largest of all atoms, sigma sqrt(2 ln K); 0 for neither."""
    forgetting: Annotated[float, Ge(0), Lt(1)] = used_by("solver", "acs", default=0.5)
    """Weight of all batches before against the newest in the normal equations."""
    early_forgetting: Annotated[float, Ge(0), Lt(1)] = used_by("solver", "acs", default=0.5)
    """What forgetting is in the first `replace_steps`, whose codes belong to atoms that are replaced later. 0 saves
    steps at the paper's scale; with many atoms to spare and noise it costs recovery."""
    ridge: Positive = used_by("solver", "acs", default=1e-4)
    """Weight that holds an atom where it is, as a share of an atom's typical sum of squared codes."""
    max_cosine: Annotated[float, Gt(0), Lt(1)] = used_by("solver", "acs", default=0.7)
    """Of two atoms closer than this, the one whose codes sum to less goes."""
    min_worth: Annotated[float, Ge(0), Lt(1)] = used_by("solver", "acs", default=0.05)
    """Atoms go without which the error would grow by less than this share of what it typically would without one."""
    replace_steps: Annotated[int, Ge(0), Le(10**12)] = 4
    """First steps, in which an atom that goes is replaced by the residual of a badly reconstructed sample."""
    l1: Weight = used_by("solver", "odl", default=0.1)
    """Weight of odl's lasso (scikit-learn's alpha)."""
    atom_batch: Batch = used_by("solver", "dbksvd", default=64)
    """Atoms that dbksvd updates at once, all by the same residual; 1 for K-SVD's one after the other."""
    power_steps: Batch = used_by("solver", "dbksvd", default=4)
    """Steps of the power method by which dbksvd finds an atom and its codes, from the codes that it has."""
    signed: bool = used_by("solver", "dbksvd", default=True)
    """Let dbksvd's codes be negative while it searches, as its paper does. Latents of the dictionary never are."""
    precision: Precision = "float32"
    """Type of the product that proposes supports, float32 or bfloat16; codes are always float32."""
    normalise: bool = False
    """Centre activations and scale them to a mean norm of sqrt(dimension); folded into the saved weights."""
    encoder: Encoder = "regression"
    """Rows of the encoder. regression: of codes on inputs; tied: the atoms; covariance: the inverse covariance of
    inputs times the atoms, so that the pattern of a row is its atom; pursuit: the atoms, followed by the search's own
    code step, an iterative encoder."""
    encoder_ridge: Positive = used_by("encoder", "regression", "covariance", default=1e-3)
    """Ridge of these two regressions, as a share of the mean variance of an input dimension. It turns the rows as noise
    of that share would (docs/reading-latents.md)."""

    def __post_init__(self) -> None:
        check(self)
        self._fill_own([self.solver])
        if self.support > self.n_atoms:
            raise ValueError(f"support must be at most n_atoms = {self.n_atoms}, found {self.support}")
        if self.solver == "acs" and self.max_support < self.support:
            raise ValueError(f"max_support must be at least support = {self.support}, found {self.max_support}")
        if self.encoder != "regression" and self.pair == "transcoder":
            raise ValueError(
                f"encoder {self.encoder} has no meaning for pair transcoder, whose atoms are of another space"
            )

    @property
    def activation(self) -> Activation:
        """That of the dictionary that is found."""
        return "topk" if self.encoder == "pursuit" else "jumprelu"

    @property
    def by_plugin(self) -> bool:
        return registered("solver", self.solver) is not None

    @property
    def sigma_parts(self) -> tuple[str, ...]:
        """The module of the dictionary's activation."""
        return (f"sdlcore.model.activations.{self.activation}",)

    @property
    def parts(self) -> tuple[str, ...]:
        """The modules that the run imports by names in its settings: the dictionary's activation, then the solver."""
        return (*self.sigma_parts, *parts_of("solver", self.solver, "sdlcore.solvers"))
