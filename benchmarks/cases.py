"""The cases to measure: every method in every library that has it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

DIMENSION = 768
LATENTS = 16_000
K = 64
PREFIXES = (1000, 2000, 4000, 8000, 16_000)
"""Latents of the nested Matryoshka dictionaries: 1/16, 1/8, ... of all, halved as in Bussmann et al. (2025)."""
BATCHES = (1024, 4096)

BASIC = ("topk", "batchtopk", "matryoshka", "relu", "jumprelu", "gated")
"""Methods that most libraries have."""
METHODS = (*BASIC, "p_annealing", "abstopk", "matching_pursuit", "hierarchical", "ortsae", "lista", "t_sae", "ra_sae")
OF_T_SAE = (3200, 16_000)
"""Prefixes of T-SAE: a fifth of the latents, and all."""
ARCHETYPES = 512
"""Centroids that RA-SAE's decoder rows are mixtures of."""
SLOW = ("matching_pursuit",)
"""Methods whose step takes ten seconds or more in a library: two steps are timed, at the smaller batch size."""
WITHOUT_K = ("relu", "jumprelu", "gated", "p_annealing")
"""Methods whose number of active latents depends on their weights; their speed may depend on that number."""
SPARSE, DENSE = 64, 1500
"""The numbers of active latents with which the methods of `WITHOUT_K` are timed."""

LIBRARIES: dict[str, tuple[str, ...]] = {
    "sdlcore": METHODS,
    "saelens": (*BASIC, "abstopk", "matching_pursuit"),
    "dictionary_learning": (*BASIC, "p_annealing"),
    "sparsify": ("topk",),
}
"""The methods that each library can train as an autoencoder on a CPU."""
DTYPES = ("float32", "bfloat16", "int8")
LOWER: dict[str, dict[str, tuple[str, ...]]] = {
    "sdlcore": {"bfloat16": BASIC, "int8": BASIC},
    "saelens": {"bfloat16": ("topk",)},
}
"""Lower types to time as well: our encoder's product; SAELens' autocast, the peers' only one that works on a CPU."""


@dataclass(frozen=True)
class Setting:
    """Settings of one library's training. Worker processes receive them as JSON."""

    method: str
    dtype: str = "float32"
    dimension: int = DIMENSION
    latents: int = LATENTS
    k: int = K
    prefixes: tuple[int, ...] = PREFIXES
    batch: int = 1024
    lr: float = 1e-6
    """A learning rate so small that a timed training keeps its number of active latents."""
    device: str = "cpu"
    kernels: str = ""
    """Our kernels, torch or triton; empty for the device's default."""
    seed: int = 0

    @property
    def toy(self) -> "Setting":
        """This setting at a tiny size, whose first step pays the one-time costs of a process."""
        sizes = {"dimension": 32, "latents": 256, "k": 4, "prefixes": (64, 256), "batch": 16}
        return Setting(**{**vars(self), **sizes})


@dataclass(frozen=True)
class Case:
    """One row of steps.csv."""

    library: str
    method: str
    batch: int
    dtype: str
    state: int
    """Wanted number of active latents."""

    @property
    def name(self) -> str:
        """The case in words."""
        return f"{self.library} {self.dtype}: {self.method}, batch {self.batch}, {self.state} active latents"


@dataclass(frozen=True)
class Group:
    """Cases that are timed in turns, because they are compared with each other."""

    method: str
    batch: int
    state: int
    cases: tuple[Case, ...] = field(repr=False)


def groups(
    methods: Iterable[str] = METHODS,
    batches: Iterable[int] = BATCHES,
    libraries: Iterable[str] = tuple(LIBRARIES),
    dtypes: Iterable[str] = DTYPES,
) -> Iterator[Group]:
    """Yield the rows of steps.csv in groups, in order. ``dtypes`` are the types that the processor can multiply."""
    batches, libraries, dtypes = tuple(batches), tuple(libraries), tuple(dtypes)
    for method in methods:
        for state in (SPARSE, DENSE) if method in WITHOUT_K else (K,):
            for batch in batches:
                if method in SLOW and batch > min(BATCHES):
                    continue
                cases = []
                for library in libraries:
                    if method in LIBRARIES[library]:
                        cases.append(Case(library, method, batch, "float32", state))
                    for dtype, those in LOWER.get(library, {}).items():
                        if method in those and dtype in dtypes:
                            cases.append(Case(library, method, batch, dtype, state))
                if cases:
                    yield Group(method, batch, state, tuple(cases))
