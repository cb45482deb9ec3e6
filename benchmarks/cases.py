"""What is measured: every method in every library that has it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

DIMENSION = 768
LATENTS = 16_000
K = 64
PREFIXES = (1000, 2000, 4000, 8000, 16_000)
"""Latents of the nested dictionaries of Matryoshka: 1/16, 1/8, ... of all, as Bussmann et al. (2025) halve them."""
BATCHES = (1024, 4096)

METHODS = ("topk", "batchtopk", "matryoshka", "relu", "jumprelu", "gated")
WITHOUT_K = ("relu", "jumprelu", "gated")
"""Methods whose number of active latents is what their weights make it, and their speed may depend on it."""
SPARSE, DENSE = 64, 1500
"""The numbers of active latents in whose states the methods of `WITHOUT_K` are timed."""

LIBRARIES: dict[str, tuple[str, ...]] = {
    "sdlcore": METHODS,
    "saelens": METHODS,
    "dictionary_learning": METHODS,
    "sparsify": ("topk",),
}
"""What each library can train as an autoencoder on a CPU."""
DTYPES = ("float32", "bfloat16", "int8")
LOWER: dict[str, dict[str, tuple[str, ...]]] = {
    "sdlcore": {"bfloat16": METHODS, "int8": METHODS},
    "saelens": {"bfloat16": ("topk",)},
}
"""What is timed in lower types, too: our encoder's product; SAELens' autocast, the only peer's that works on a CPU."""


@dataclass(frozen=True)
class Setting:
    """What a library is asked to train. Worker processes get it as JSON."""

    method: str
    dtype: str = "float32"
    dimension: int = DIMENSION
    latents: int = LATENTS
    k: int = K
    prefixes: tuple[int, ...] = PREFIXES
    batch: int = 1024
    lr: float = 1e-6
    """So small that timing a state does not leave it."""
    warmup: int = 0
    """Steps over which the learning rate rises."""
    optimizer: str = "adam"
    device: str = "cpu"
    kernels: str = ""
    """Of ours, torch or triton; else the device's own."""
    recommended: bool = False
    """Ours as config/paper.yaml has it, not as the peers' defaults are (which recommend what they have as defaults)."""
    seed: int = 0

    @property
    def toy(self) -> "Setting":
        """The same at a size that takes no time: its first step pays what a process pays once."""
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
    """Cases that are timed in turns, since they are compared with one another."""

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
    """Give all rows of steps.csv in their order, in the types that the processor can multiply (`machine.dtypes`)."""
    batches, libraries, dtypes = tuple(batches), tuple(libraries), tuple(dtypes)
    for method in methods:
        for state in (SPARSE, DENSE) if method in WITHOUT_K else (K,):
            for batch in batches:
                cases = []
                for library in libraries:
                    if method in LIBRARIES[library]:
                        cases.append(Case(library, method, batch, "float32", state))
                    for dtype, those in LOWER.get(library, {}).items():
                        if method in those and dtype in dtypes:
                            cases.append(Case(library, method, batch, dtype, state))
                if cases:
                    yield Group(method, batch, state, tuple(cases))
