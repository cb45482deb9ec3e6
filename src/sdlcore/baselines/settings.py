"""Settings of a run that another library trains: one frozen dataclass, flat like those of `sdlcore.run`."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from sdlcore.run import Activation
from sdlcore.settings import Batch, FromJson, Json, Latents, Pair, Positive, Total, Weight, check

Peer = Literal["saelens", "dictionary_learning", "sparsify"]
ARCHITECTURES: dict[Peer, tuple[Activation, ...]] = {
    "saelens": ("relu", "jumprelu", "topk", "batchtopk", "gated"),
    "dictionary_learning": ("relu", "jumprelu", "topk", "batchtopk", "gated"),
    "sparsify": ("topk",),
}
"""What each library trains here."""
DISTRIBUTIONS = {"saelens": "sae-lens", "dictionary_learning": "dictionary-learning", "sparsify": "eai-sparsify"}
"""What it is called where packages are."""
_OF_ONE_ACTIVATION = {
    "k": ("topk", "batchtopk"),
    "prefixes": ("batchtopk",),
    "l1": ("relu", "gated"),
    "l0": ("jumprelu",),
    "target_l0": ("jumprelu",),
}


@dataclass(frozen=True)
class PeerConfig(FromJson):
    """Settings of a run that another library trains. The library's defaults apply to everything else."""

    called: ClassVar[str] = "settings of a peer"
    shared: ClassVar[tuple[str, ...]] = ("n_q", "steps", "batch_size", "log_every")
    """Settings that a peer takes from protocols and sources, so that it sees the batches that our trainings see."""

    peer: Peer = "saelens"
    """The library that trains, as it recommends (docs/peers.md): saelens, dictionary_learning or sparsify."""
    pair: Pair = "sae"
    """Autoencoders alone."""
    activation: Activation = "relu"
    """relu, jumprelu, topk, batchtopk or gated."""
    n_q: Latents = 1024
    """Number of latents."""
    k: Latents | None = None
    """Active latents of a sample (topk) or on average over a batch (batchtopk)."""
    prefixes: tuple[Latents, ...] = ()
    """Numbers of latents, the last n_q: the library's Matryoshka over BatchTopK; empty for none."""
    l1: Weight | None = None
    """The library's own weight of the penalty of relu or gated, in its own units; None for its default."""
    l0: Weight | None = None
    """The same of jumprelu."""
    target_l0: Positive | None = None
    """The L0 that dictionary_learning's jumprelu is held at; None for its default."""
    lr: Positive | None = None
    """Learning rate; None for the library's own rule."""
    steps: Total = 1000
    """Optimiser steps."""
    batch_size: Batch = 1024
    """Samples of a step."""
    log_every: Total = 20
    """Steps between rows of the history."""

    def __post_init__(self) -> None:
        check(self)
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
    def sigma_parts(self) -> tuple[str, ...]:
        """The module of the dictionary's activation."""
        return (f"sdlcore.model.activations.{self.activation}",)

    @property
    def parts(self) -> tuple[str, ...]:
        """The modules that the run imports by names in its settings: the activation, then the library's."""
        return (*self.sigma_parts, f"sdlcore.baselines.{self.peer}")

    @property
    def method(self) -> str:
        """What libraries have a class for: the activation, or matryoshka."""
        return "matryoshka" if self.prefixes else self.activation

    def used(self) -> dict[str, Json]:
        """Return the flat settings; a library takes them all."""
        return self.to_dict()
