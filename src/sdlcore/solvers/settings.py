"""The settings of a solver's run: one small frozen dataclass, flat like those of `sdlcore.run`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

SOLVERS = ("acs", "ksvd", "odl", "kmeans")
ENCODERS = ("regression", "tied", "covariance", "pursuit")


@dataclass(frozen=True)
class SolverConfig:
    """How a dictionary is solved for. One setting serves all benches; it knows neither n nor the sparsity."""

    solver: str = "acs"
    """acs: alternating convex search; ksvd: approximate K-SVD; odl: scikit-learn's online dictionary learning; kmeans:
    its mini-batch k-means."""
    pair: str = "sae"
    """sae, transcoder or crosscoder. The dictionary is that of x_r, the encoder reads x_p."""
    n_atoms: int = 2000
    """Atoms at the start; acs leaves those that the data need, the others keep them all."""
    support: int = 16
    """Most active atoms of a sample, at the start: those of largest correlation."""
    max_support: int = 64
    """What that may grow to. It doubles while hardly any code of a support is zero, so that more would be active."""
    sweeps: int = 8
    """Times that coordinate descent goes over a sample's support."""
    batch_size: int = 8192
    """Samples of a step, or the whole store where it has fewer."""
    max_steps: int = 40
    """Steps after which a solver stops though it has not settled."""
    tolerance: float = 0.02
    """A solver has settled when reconstruction error has changed by less than this share, and its atoms by less than a
    tenth of it, over `patience` steps."""
    patience: int = 3
    """Steps over which a solver must have settled."""
    forgetting: float = 0.5
    """Weight of all batches before against the newest in the normal equations."""
    ridge: float = 1e-4
    """Weight that holds an atom where it is, as a share of an atom's typical sum of squared codes."""
    max_cosine: float = 0.7
    """Of two atoms closer than this, the one whose codes sum to less goes."""
    min_worth: float = 0.05
    """Atoms go without which the error would grow by less than this share of what it typically would without one."""
    replace_steps: int = 4
    """First steps, in which an atom that goes is replaced by the residual of a badly reconstructed sample."""
    l1: float = 0.1
    """Weight of odl's lasso (scikit-learn's alpha)."""
    precision: str = "float32"
    """Type of the product that proposes supports, float32 or bfloat16; codes are always float32."""
    normalise: bool = False
    """Centre activations and scale them to a mean norm of sqrt(dimension); folded into the saved weights."""
    encoder: str = "regression"
    """Rows of the encoder. regression: of codes on inputs; tied: the atoms; covariance: the inverse covariance of
    inputs times the atoms, so that the pattern of a row is its atom; pursuit: the atoms, followed by the search's own
    code step, an iterative encoder."""

    def __post_init__(self) -> None:
        for name, choices in {
            "solver": SOLVERS,
            "pair": ("sae", "transcoder", "crosscoder"),
            "precision": ("float32", "bfloat16"),
            "encoder": ENCODERS,
        }.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, found {getattr(self, name)!r}")
        for name in ("n_atoms", "support", "sweeps", "batch_size", "max_steps", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.support > self.n_atoms:
            raise ValueError(f"support must be at most n_atoms = {self.n_atoms}, found {self.support}")
        if self.max_support < self.support:
            raise ValueError(f"max_support must be at least support = {self.support}, found {self.max_support}")
        if not 0 <= self.forgetting < 1:
            raise ValueError(f"forgetting must be in [0, 1), found {self.forgetting}")
        if self.encoder != "regression" and self.pair == "transcoder":
            raise ValueError(
                f"encoder {self.encoder} has no meaning for pair transcoder, whose atoms are of another space"
            )
        if self.l1 < 0:
            raise ValueError(f"l1 must not be negative, found {self.l1}")
        if not self.ridge > 0:
            raise ValueError(f"ridge must be above 0, found {self.ridge}: unused atoms make equations singular")

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "SolverConfig":
        """Build from flat settings; what is left out takes its default.

        Raises
        ------
        ValueError
            For an unknown key or settings that do not go together.
        """
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ValueError(f"unknown settings of a solver: {', '.join(unknown)}; expected some of {', '.join(known)}")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """Return the flat settings, as `from_dict` takes them."""
        return asdict(self)
