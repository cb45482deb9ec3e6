"""Settings of a run that another library trains."""

from typing import ClassVar, Literal

from sdlcore.settings import BatchSize, LatentCount, Positive, Settings, Sizes, Total, Weight

Peer = Literal["saelens", "dictionary_learning", "sparsify"]
Activation = Literal["relu", "jumprelu", "topk", "batchtopk", "gated"]
ARCHITECTURES: dict[Peer, tuple[Activation, ...]] = {
    "saelens": ("relu", "jumprelu", "topk", "batchtopk", "gated"),
    "dictionary_learning": ("relu", "jumprelu", "topk", "batchtopk", "gated"),
    "sparsify": ("topk",),
}
"""Activations that each library can train here."""
DISTRIBUTIONS = {"saelens": "sae-lens", "dictionary_learning": "dictionary-learning", "sparsify": "eai-sparsify"}
"""Name of each library at the package index."""
_OF_ONE_ACTIVATION = {
    "k": ("topk", "batchtopk"),
    "prefixes": ("batchtopk",),
    "l1": ("relu", "gated"),
    "l0": ("jumprelu",),
    "target_l0": ("jumprelu",),
}


class PeerConfig(Settings):
    """Settings of a run that another library trains. The library's defaults apply to all settings
    that are not listed here."""

    always_given: ClassVar[tuple[str, ...]] = ("peer",)
    shared: ClassVar[tuple[str, ...]] = ("n_q", "steps", "batch_size", "log_every")
    """Settings that a peer takes from protocols and sources, so that it sees the same batches as sdlcore's
    trainings."""

    peer: Peer = "saelens"
    """Library that trains, with its recommended settings (docs/peers.md): saelens, dictionary_learning or sparsify."""
    pair: Literal["sae"] = "sae"
    """Must be sae, since other libraries train autoencoders here."""
    activation: Activation = "relu"
    """relu, jumprelu, topk, batchtopk or gated."""
    n_q: LatentCount = 1024
    """Number of latents."""
    k: LatentCount | None = None
    """Active latents per sample (topk), or on average over a batch (batchtopk)."""
    prefixes: Sizes = ()
    """Sizes of nested dictionaries, the last n_q, for the library's Matryoshka BatchTopK; empty for none."""
    l1: Weight | None = None
    """Weight of the sparsity penalty of relu or gated, in the library's units; None for its default."""
    l0: Weight | None = None
    """Weight of the sparsity penalty of jumprelu, in the library's units; None for its default."""
    target_l0: Positive | None = None
    """Target L0 of dictionary_learning's jumprelu; None for its default."""
    lr: Positive | None = None
    """Learning rate; None for the library's default."""
    normalise: bool = False
    """Train on activations with zero mean and a mean norm of sqrt(dimension), as sdlcore's trainings with this setting
    do. The saved dictionary is for raw activations."""
    steps: Total = 1000
    """Optimiser steps."""
    batch_size: BatchSize = 1024
    """Samples per step."""
    log_every: Total = 20
    """Steps between rows of the history."""

    def check_together(self) -> None:
        choices = ARCHITECTURES[self.peer]
        if self.activation not in choices:
            raise ValueError(
                f"activation of peer {self.peer} must be one of {', '.join(choices)}, found {self.activation!r}"
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
            raise ValueError(f"target_l0 has no meaning for peer {self.peer}, whose penalty has a fixed weight")

    @property
    def method(self) -> str:
        """Key of the library's class: the activation, or matryoshka."""
        return "matryoshka" if self.prefixes else self.activation
