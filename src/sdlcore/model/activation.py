"""The interface of activation functions: the definition of a method, and the search that makes it fast.

A method is one class: in `sdlcore.model.activations`, with its name in `sdlcore.config`, or in a plugin. The class's
`forward` defines the method, in plain torch on dense matrices. A class with `forward` alone can be trained. A method
that also declares a `search` is computed only at the entries that the search finds; `values` returns the latents at
these entries. `sdl.check_method` compares the two.

Shapes: B samples, n_q latents (``d_sae`` elsewhere), N entries of the batch that a search found.
"""

import torch
from torch import Tensor, nn

from sdlcore.model.encoding_tools import EncodingTools, SparseCode
from sdlcore.model.encoding_tools import Weights as Weights
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.search import LargestPerBatch, LargestPerSample, Search
from sdlcore.sparse.support import Support


class Activation(nn.Module):
    """An activation function, written sigma in the paper (section 2.4): latents from pre-activations.

    A subclass writes `forward`, and may write `search` with `values`, and `gates`. The subclass's ``__init__`` takes
    settings of the model by their names, such as ``n_q`` (`sdlcore.config.ModelConfig`). A class that keeps k latents
    declares ``k: int`` and reads ``self.k``. A parameter has one element for each latent (n_q), and starts at its
    `initial` value, which is zero except for the ``threshold`` of `add_threshold`.

    A class that overrides `values` alone gets the `forward` of this class, which computes the latents by `values`. A
    class that overrides `forward` alone gets the `search` of this class, and so computes every latent. The method that
    it would inherit otherwise computes other latents.
    """

    threshold: Tensor
    start: Tensor
    signed: bool = False
    """Whether latents may be below zero. Then a latent is active where it is not zero, and measures that are defined
    for non-negative latents refuse the dictionary (`refuse_signed`)."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()

        def place(name: str) -> int:
            return next(place for place, base in enumerate(cls.__mro__) if name in vars(base))

        if place("values") < place("forward"):
            cls.forward = Activation.forward  # type: ignore[method-assign]
        elif place("forward") < min(place("values"), place("search")):
            cls.search = Activation.search  # type: ignore[method-assign]

    def forward(self, pre: Tensor) -> Tensor:
        """Return the latents (B x n_q) of pre-activations (B x n_q): mostly zero, never negative unless `signed`.

        By default, they are the `values` at the entries of the `search`, and zero elsewhere.
        """
        search = type(self).search(self)  # of the class, since `check_method` hides the search of an instance
        if search is None:
            raise NotImplementedError(f"{type(self).__name__} does not define its latents; write forward(pre)")
        mask = search.mask(pre)
        offsets = torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0))
        support = Support(offsets, mask.nonzero()[:, 1].int(), pre.shape[1], kernels_for(pre.device))
        return support.dense(self.values(pre[mask], support))

    def search(self) -> Search | None:
        """Return the search that finds the entries of a batch whose latent may be positive or pass a gradient on.

        The default, None, means all entries: every pre-activation is then computed and kept, which is slower. With a
        search, training and encoding use `values`, and `forward` remains the definition: tests compare the two, and
        `SparseCoder.encode` computes the definition for few samples.
        """
        return None

    def values(self, pre: Tensor, support: Support) -> Tensor:
        """Return the latents (N) of the pre-activations (N) that the search found.

        ``support`` contains the latent (`Support.columns`) and the sample (`Support.samples`) of each entry.
        """
        raise NotImplementedError(f"{type(self).__name__} declares a search; write values(pre, support) too")

    def gates(self, pre: Tensor) -> Tensor | None:
        """Return a stand-in for the latents in losses (of the shape of ``pre``), if their own gradient is too poor.

        The L1 penalty then sums the gates instead of the latents, and the loss gets a second reconstruction: from the
        gates, by a decoder that it does not train (`sdlcore.model.losses.total.gate`). None, the default, for no gates.
        """
        return None

    def add_threshold(self, n_q: int, start: float) -> None:
        """Give each latent a trainable ``threshold`` (n_q), which never falls below zero, and store its ``start``."""
        self.threshold = nn.Parameter(torch.full((n_q,), start, dtype=torch.float32))
        self.register_buffer("start", torch.tensor(start, dtype=torch.float32))

    def initial(self, name: str) -> float | Tensor:
        """Return the initial value of the parameter ``name``, which resampled latents get again."""
        return self.start if name == "threshold" else 0.0

    @torch.no_grad()
    def set_initial_threshold(self, threshold: Tensor, b_enc: Tensor) -> None:
        """Let only pre-activations above a threshold (0-d) pass at the start of a training (``init_l0``).

        The latents' trainable thresholds are set to it, if they have any; otherwise the encoder's biases (n_q) are
        lowered by it.
        """
        if "threshold" in self._parameters:
            self.start.copy_(threshold)
            self.threshold.fill_(threshold)
        else:
            b_enc.sub_(threshold)

    def set_k(self, k: int) -> None:
        """Set the setting k of an activation that has it. Training with ``k_start`` changes it from step to step.

        A search for k entries that the activation keeps as an attribute follows.
        """
        before = vars(self).get("k")
        for search in vars(self).values():
            if isinstance(search, LargestPerSample | LargestPerBatch) and search.k == before:
                search.k = k
        self.k = k

    @torch.no_grad()
    def constrain(self) -> None:
        """Raise thresholds below zero to zero, after a step."""
        if "threshold" in self._parameters:
            self.threshold.clamp_(min=0.0)


def refuse_signed(sigma: Activation, measure: str) -> None:
    """Raise ValueError if latents may be below zero, for a measure or a theorem that is defined for others only."""
    if sigma.signed:
        raise ValueError(
            f"{measure} is defined for non-negative latents, but latents of {type(sigma).__name__} may be negative; "
            "train with another activation, such as topk"
        )


class Selecting(Activation):
    """An activation that keeps a given number k of latents."""

    def __init__(self, k: int | None) -> None:
        super().__init__()
        if k is None:
            raise ValueError(f"{type(self).__name__} needs k")
        self.k = k


class Encoder(Activation):
    """An encoder that needs more than the pre-activations, such as the decoder.

    A subclass writes `encode` instead of `forward`, and no gates. It is then computed densely. A subclass that also
    returns a `search` is computed by `encode_at`. Prefixes and auxiliary latents work as usual; ``multi_k`` needs a
    search.
    """

    def encode(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the latents (B x n_q), none below zero, of samples (B x n_p)."""
        raise NotImplementedError(f"{type(self).__name__} does not define its latents; write encode(x, weights)")

    def search(self) -> Search | None:
        """Return the search for the latents that are chosen last, which ``multi_k`` ranks; None without `encode_at`."""
        return None

    def encode_at(self, x: Tensor, tools: EncodingTools) -> SparseCode:
        """Return the latents of `encode` at the entries where they are not zero."""
        raise NotImplementedError(f"{type(self).__name__} declares a search; write encode_at(x, tools) too")
