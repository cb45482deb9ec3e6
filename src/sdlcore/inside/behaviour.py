"""Batches and losses for training a dictionary inside a language model (`sdlcore.training.behaviour`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from sdlcore.inside.loss import Predictions
from sdlcore.inside.reader import Reader
from sdlcore.inside.splicing import replacing
from sdlcore.sources.language.forward import KEPT, RowKinds, stack_batches
from sdlcore.sources.language.settings import Site
from sdlcore.sources.language.sites import Watch, without_dropout
from sdlcore.sources.language.tokens import Tokens
from sdlcore.training.behaviour import Behaviour, blended
from sdlcore.training.normalisation import Scaling

Objective = Literal["kl", "cross_entropy"]


class LanguageBehaviour(Behaviour):
    """The predictions of a frozen language model, with and without a dictionary's reconstruction in it.

    Each step runs the model twice over a batch of contexts: once as it is, which gives the activations and the
    predictions to keep, and once with the reconstruction in place of the activations. Gradients pass from the second
    predictions through the later blocks to the reconstruction. Tokens that the reader drops keep their activations.
    Contexts come in the order of the text, which begins again at its end.

    Parameters
    ----------
    reader
        Model and text; the text fills at least one context.
    read, write
        Where the dictionary reads, and where its reconstruction belongs.
    kinds
        Which tokens are dropped.
    scaling
        Scaling of the dictionary's activations in training, on the model's device.
    objective
        kl: the divergence KL(clean || spliced) of next-token distributions; cross_entropy: the loss of the spliced
        model on the text.
    share
        Share of the objective in the loss. With 0 the spliced model never runs.
    first_step
        Number of the step that gets the first contexts.
    """

    def __init__(
        self,
        reader: Reader,
        read: Site,
        write: Site,
        kinds: RowKinds,
        scaling: Scaling,
        objective: Objective,
        share: float,
        first_step: int = 0,
    ) -> None:
        self._reader, self._read, self._write, self._kinds = reader, read, write, kinds
        self._scaling, self._objective, self._share = scaling, objective, share
        self._first_step, self._next = first_step, first_step
        self._batches = stack_batches(self._contexts(), reader.contexts_per_batch)
        self._ids_BT = self._kept_BT = torch.empty(0)
        self._clean: Predictions | None = None

    def _contexts(self) -> Iterator[Tokens]:
        while True:
            yield from self._reader.contexts(None)

    @torch.no_grad()
    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return x_p (N x n_p) and x_r (N x n_r) of the N tokens that are kept in a step's contexts, float32."""
        if step != self._next:  # a resumed training skips the contexts of earlier steps
            self._batches = stack_batches(self._contexts(), self._reader.contexts_per_batch)
            self._batches = islice(self._batches, step - self._first_step, None)
        tokens = next(self._batches)
        self._next = step + 1
        stack = self._reader.stack
        self._ids_BT = stack.ids(tokens.token)
        activations: dict[str, Tensor] = {}
        sites = {"input": self._read} | ({} if self._write == self._read else {"target": self._write})

        def see(name: str, x_BTD: Tensor) -> None:
            # a copy, because the model may change its activations in place
            activations[name] = x_BTD.flatten(0, 1).to(torch.float32, copy=True)

        if self._share:
            with stack.watch_all(sites, see):
                self._clean = Predictions.of(self._reader.lm, self._ids_BT)
        else:
            with Watch(stack, sites, see) as watch:  # no pass beyond the deepest site
                watch.run(self._ids_BT)
        norms = {name: torch.linalg.vector_norm(x, dim=1).cpu().numpy() for name, x in activations.items()}
        kept_N = torch.from_numpy(self._kinds.of(tokens, norms) == KEPT).to(stack.device)
        self._kept_BT = kept_N.reshape(self._ids_BT.shape)
        x_p = activations["input"][kept_N]
        return x_p, activations["target"][kept_N] if "target" in activations else x_p

    def behaviour_loss(self, x_hat_BR: Tensor, error: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if not self._share or self._clean is None:
            return error, {}
        raw_BR = self._scaling.raw(x_hat_BR)
        with replacing(self._reader.stack, self._read, self._write, lambda *_: raw_BR, lambda _: self._kept_BT):
            spliced = Predictions.of(self._reader.lm, self._ids_BT)
        predictions = self._ids_BT[:, 1:].numel()
        kl = self._clean.divergence(spliced) / predictions
        cross_entropy = spliced.loss(self._ids_BT) / predictions
        objective = kl if self._objective == "kl" else cross_entropy
        terms = {"kl": kl, "cross_entropy": cross_entropy}
        return blended(error, kl, objective, self._share).to(error.dtype), terms


@contextmanager
def frozen(lm: Any) -> Iterator[None]:
    """Freeze a model's weights and put it in evaluation mode; the end of the block undoes both."""
    trained = [parameter for parameter in lm.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        with without_dropout(lm):
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
