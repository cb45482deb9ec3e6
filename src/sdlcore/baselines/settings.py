"""The settings of a run that another library trains: one small frozen dataclass, flat like those of `sdlcore.run`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

ARCHITECTURES: dict[str, tuple[str, ...]] = {
    "saelens": ("relu", "jumprelu", "topk", "batchtopk", "gated"),
    "dictionary_learning": ("relu", "jumprelu", "topk", "batchtopk", "gated"),
    "sparsify": ("topk",),
}
"""What each library trains here."""
DISTRIBUTIONS = {"saelens": "sae-lens", "dictionary_learning": "dictionary-learning", "sparsify": "eai-sparsify"}
"""What it is called where packages are."""
SHARED = ("n_q", "steps", "batch_size", "log_every")
"""What a peer takes from protocols and sources, so that it sees the batches that our trainings see."""
_OF_ONE_ACTIVATION = {
    "k": ("topk", "batchtopk"),
    "prefixes": ("batchtopk",),
    "l1": ("relu", "gated"),
    "l0": ("jumprelu",),
    "target_l0": ("jumprelu",),
}


@dataclass(frozen=True)
class PeerConfig:
    """What a library is asked to train. All that is not said here is its own default."""

    peer: str = "saelens"
    """saelens, dictionary_learning or sparsify."""
    pair: str = "sae"
    """Autoencoders alone."""
    activation: str = "relu"
    """relu, jumprelu, topk, batchtopk or gated."""
    n_q: int = 1024
    """Number of latents."""
    k: int | None = None
    """Active latents of a sample (topk) or on average over a batch (batchtopk)."""
    prefixes: tuple[int, ...] = ()
    """Numbers of latents, the last n_q: the library's Matryoshka over BatchTopK; empty for none."""
    l1: float | None = None
    """The library's own weight of the penalty of relu or gated, in its own units; None for its default."""
    l0: float | None = None
    """The same of jumprelu."""
    target_l0: float | None = None
    """The L0 that dictionary_learning's jumprelu is held at; None for its default."""
    lr: float | None = None
    """Learning rate; None for the library's own rule."""
    steps: int = 1000
    """Optimiser steps."""
    batch_size: int = 1024
    """Samples of a step."""
    log_every: int = 20
    """Steps between rows of the history."""

    def __post_init__(self) -> None:
        if self.peer not in ARCHITECTURES:
            raise ValueError(f"peer must be one of {', '.join(ARCHITECTURES)}, found {self.peer!r}")
        if self.pair != "sae":
            raise ValueError(f"peers are trained as autoencoders, pair must be sae, found {self.pair!r}")
        known = ARCHITECTURES[self.peer]
        if self.activation not in known:
            raise ValueError(
                f"activation of peer {self.peer} must be one of {', '.join(known)}, found {self.activation!r}"
            )
        for name, activations in _OF_ONE_ACTIVATION.items():
            if getattr(self, name) and self.activation not in activations:
                raise ValueError(f"{name} has no meaning for activation {self.activation} of a peer")
        if self.activation in ("topk", "batchtopk") and self.k is None:
            raise ValueError(f"activation {self.activation} needs k")
        if self.k is not None and not 1 <= self.k <= self.n_q:
            raise ValueError(f"k must be between 1 and n_q = {self.n_q}, found {self.k}")
        if self.prefixes and (list(self.prefixes) != sorted(set(self.prefixes)) or self.prefixes[-1] != self.n_q):
            raise ValueError(f"prefixes must ascend to n_q = {self.n_q}, found {list(self.prefixes)}")
        if self.target_l0 is not None and self.peer != "dictionary_learning":
            raise ValueError(f"target_l0 has no meaning for peer {self.peer}, which has fixed weights")

    @property
    def method(self) -> str:
        """What libraries have a class for: the activation, or matryoshka."""
        return "matryoshka" if self.prefixes else self.activation

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "PeerConfig":
        """Build from flat settings; what is left out takes its default.

        Raises
        ------
        ValueError
            For an unknown key or settings that do not go together.
        """
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ValueError(f"unknown settings of a peer: {', '.join(unknown)}; expected some of {', '.join(known)}")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
        }
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the flat settings, as `from_dict` takes them and JSON can hold them."""
        return asdict(self) | {"prefixes": list(self.prefixes)}
