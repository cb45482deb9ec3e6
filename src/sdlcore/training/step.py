"""One optimiser step: forward, backward, clipping, Adam, constraints."""

import torch
from torch import Tensor

from sdlcore.config import Config
from sdlcore.memory import in_large_pages, keep_freed_memory
from sdlcore.model.coder import SparseCoder
from sdlcore.model.encoding import Auxiliary
from sdlcore.model.losses.term import TermInputs, term_of
from sdlcore.model.losses.total import needs_norms, scales_of, total_loss
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.kernels.workspace import Workspace
from sdlcore.training.adam import Adam
from sdlcore.training.resampling import DeadLatents
from sdlcore.training.schedules import NEXT_L1, PenaltyFactor, scheduled

DEAD_EVERY = 10
"""Steps between updates of the set of dead latents, because every update makes a GPU wait."""
_TYPES = {"float32": None, "bfloat16": torch.bfloat16, "int8": torch.int8}


class TrainingStep:
    """One optimiser step, and the state that steps change: model, optimiser, schedule, dead latents, penalty.

    A step does not wait for a GPU, with three exceptions. Activations other than TopK need the number of active
    latents, and screened products need the number of remaining candidates. With ``lambda_aux``, one step in
    `DEAD_EVERY` needs the number of dead latents.

    If several processes train the model (`SparseCoder.processes`), each receives whole batches.

    Parameters
    ----------
    model
        The model, trained in place.
    config
        The run's settings.
    anchors
        A x n_p and A x n_r directions for the first A latents, in the model's (normalised) units.
    """

    def __init__(self, model: SparseCoder, config: Config, anchors: tuple[Tensor, Tensor] | None = None) -> None:
        self.model = model
        self.config = config
        self.processes = model.processes
        self.anchors = anchors
        self.trained = {p: name for name, p in model.named_parameters() if p.requires_grad}
        on_sphere = [model.W_dec] if model.config.decoder_norm == "unit" else []
        device = model.W_enc.device
        self.kernels = kernels_for(device, Workspace())
        """Kernels of all steps, which keep large buffers for the next step."""
        self.optimizer = Adam(self.trained, config.gradient_clip, on_sphere, self.kernels, config.weight_decay)
        self.now = scheduled(config, 0)
        """Scheduled values of the last step."""
        keep_freed_memory()
        for p in model.parameters():
            in_large_pages(p.detach(), written=True)
        self.dead = DeadLatents(len(model.W_enc), config.dead_after, device)
        self.penalty = PenaltyFactor(config, model.W_enc)
        self.firings = torch.zeros(len(model.W_enc) if config.reorder_every else 0, device=device)
        """Number of samples that activated each latent since the last reordering; empty without ``reorder_every``."""
        self._norms = needs_norms(config)
        self._scales = scales_of(config, model)
        self._precision = _TYPES[config.precision]
        self._auxiliary: Auxiliary | None = None

    def columns(self) -> dict[str, float]:
        """Return columns of the history: the scheduled values of the last step that change in this run."""
        columns = {"lr": self.now.lr}
        if self.now.k is not None:
            columns["k"] = self.now.k
        if self.config.l1_exponent_end is not None:
            columns["l1_exponent"] = self.now.exponent
        if self.penalty.changes:
            columns["penalty_factor"] = float(self.penalty.used)
        return columns

    def __call__(self, x_BP: Tensor, x_BR: Tensor, step: int = 0) -> dict[str, Tensor]:
        """Take one step and return 0-d tensors: the loss, its terms, ``l0`` (mean number of active latents) and
        ``gradient_norm`` (of the whole gradient, before it is clipped).

        Parameters
        ----------
        x_BP, x_BR
            Inputs (B x n_p) and targets (B x n_r) of the batch; the same tensor for an autoencoder.
        step
            Number of the step, from 0, which determines its scheduled values.
        """
        self._schedule(step)
        metrics, firings_Q = self._gradients(x_BP, x_BR, step)
        if self.processes.size > 1:
            self.processes.sum_in_place([firings_Q, *(p.grad for p in self.trained if p.grad is not None)])
            self.kernels.gradient_norms.clear()  # the known norms cover only this process's part
            over_all = self.processes.mean(torch.stack([value.double() for value in metrics.values()]))
            metrics = dict(zip(metrics, over_all, strict=True))
        if len(self.firings):
            self.firings += firings_Q
        self._descend()
        metrics["gradient_norm"] = self.optimizer.gradient_norm
        self.dead.update(firings_Q > 0, len(x_BP))
        self.penalty.adjust(metrics)
        return metrics

    def _schedule(self, step: int) -> None:
        """Set the scheduled values of a step: learning rate, k, and the dead latents of the auxiliary loss."""
        self.now = scheduled(self.config, step)
        if self.now.k is not None:
            self.model.sigma.set_k(self.now.k)
        config = self.config
        if config.lambda_aux and (self._auxiliary is None or step % DEAD_EVERY == 0):
            self._auxiliary = Auxiliary(self.dead.mask().nonzero().squeeze(1), config.k_aux)

    def _gradients(self, x_BP: Tensor, x_BR: Tensor, step: int) -> tuple[dict[str, Tensor], Tensor]:
        """Compute the gradients of the weights from this process's share of each of the batch's ``accumulate`` parts.

        Return the loss and its terms (means over the parts), and how many samples activated each latent.
        """
        now, processes, n_parts = self.now, self.processes, self.config.accumulate
        if len(x_BP) % n_parts:
            raise ValueError(f"batch {step} of x has {len(x_BP)} samples, which accumulate = {n_parts} must divide")
        part_length = len(x_BP) // n_parts
        share_length = part_length // processes.size
        penalty, anchored_rows = self.penalty.use(now.penalty), self._anchored_rows()
        self.kernels.gradient_norms.clear()
        metrics: dict[str, Tensor] = {}
        firings_Q = torch.zeros_like(self.dead.silent, dtype=torch.int32)
        for start in range(processes.rank * share_length, len(x_BP), part_length):
            share_p = x_BP[start : start + share_length]
            share_r = share_p if x_BR is x_BP else x_BR[start : start + share_length]
            out = self.model(share_p, self._scales, self._auxiliary, self._precision, self._norms, self.kernels)
            inputs = TermInputs(self.model, share_r, out, self.config, self.anchors, anchored_rows, step, now.exponent)
            terms = total_loss(inputs, penalty, now.anchoring)
            if self.trained:  # a frozen model may have no parameter left to train
                (terms["loss"] / (n_parts * processes.size)).backward()
            with torch.no_grad():
                if now.next_exponent != now.exponent:
                    terms[NEXT_L1] = term_of("l1").compute(inputs._replace(exponent=now.next_exponent))
                fires_N = out.fires()
                firings_Q.index_add_(0, out.support.columns, fires_N.int())
                terms["l0"] = fires_N.sum().to(share_p.dtype) / share_length
                for name, value in terms.items():
                    metrics[name] = metrics.get(name, 0.0) + value.detach() / n_parts
        if anchored_rows is not None:
            self._add_anchor_gradients(anchored_rows)
        return metrics, firings_Q

    @torch.no_grad()
    def reorder(self) -> None:
        """Sort the latents by how often they fired since the last reordering, so prefixes contain the most frequent.

        Latents that fired equally often keep their order. The rows of weights, of the activation's parameters and of
        the optimiser's moments move with them.
        """
        order = torch.argsort(self.firings, descending=True, stable=True)
        self.firings.zero_()
        parameters = {self.model.get_parameter(name) for name in self.model.latent_names}  # tied weights once
        for parameter in parameters:
            moments = self.optimizer.state.get(parameter, {}).values()
            for tensor in [parameter, *(m for m in moments if isinstance(m, Tensor) and m.shape == parameter.shape)]:
                tensor.copy_(tensor[order])
        self.dead.silent = self.dead.silent[order]
        if self._auxiliary is not None:
            places = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
            self._auxiliary = self._auxiliary._replace(dead=places[self._auxiliary.dead].sort().values)

    def finish(self) -> None:
        """Set the model's final k, which an early end may not have reached, and compute its decoder rows."""
        self.model.write_rows()
        if self.config.k is not None:
            self.model.sigma.set_k(self.config.k)

    def _anchored_rows(self) -> tuple[Tensor, Tensor] | None:
        """Return the anchored rows, detached from the weights.

        For slices of the weights, autograd would return gradients of all rows, with zeros in the others. Adding two
        such gradients takes as long as decoding.
        """
        if self.anchors is None:
            return None
        w_p, w_r = self.anchors
        W_enc, W_dec = self.model.W_enc.detach(), self.model.W_dec.detach()
        return W_enc[: len(w_p)].requires_grad_(), W_dec[: len(w_r)].requires_grad_()

    @torch.no_grad()
    def _add_anchor_gradients(self, anchored_rows: tuple[Tensor, Tensor]) -> None:
        """Add the gradients of ``anchored_rows`` to the weights' gradients, and update their recorded norms."""
        for W, rows in zip((self.model.W_enc, self.model.W_dec), anchored_rows, strict=True):
            if rows.grad is None:
                continue
            if W.grad is None:
                W.grad = torch.zeros_like(W)
            recorded_norms, anchored_gradients = self.kernels.gradient_norms.of(W, W.grad), W.grad[: len(rows)]
            anchored_gradients += rows.grad
            if recorded_norms is not None:
                products, recorded_norms.squares[: len(rows)] = self.kernels.row_products(anchored_gradients, rows)
                if recorded_norms.products is not None:
                    recorded_norms.products[: len(rows)] = products
                self.kernels.gradient_norms.note(W, W.grad, *recorded_norms)

    @torch.no_grad()
    def _descend(self) -> None:
        self.optimizer.step(self.now.lr)
        # return the gradients of encoder and decoder, which kernels made, to the workspace; the rest is not reused
        archetypes = self.model.archetypes
        decoder = [self.model.W_dec] if archetypes is None else list(archetypes.parameters())
        for weights in dict.fromkeys([self.model.W_enc, *decoder]):  # tied ones once
            if weights.grad is not None:
                self.kernels.give(weights.grad)
        for p in self.trained:
            p.grad = None
        if archetypes is not None:
            archetypes.constrain()
        self.model.sigma.constrain()  # the optimiser normalises unit rows

    def state(self) -> dict[str, Tensor]:
        """Return all tensors that the next step depends on."""
        self.model.write_rows()
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.model.config.tied:
            del tensors["model/W_dec"]  # equal to the encoder
        for p, name in self.trained.items():
            tensors |= {f"{name}/{key}": value for key, value in self.optimizer.state[p].items()}
        if len(self.firings):
            tensors["firings"] = self.firings
        tensors |= {"silent": self.dead.silent, "log_penalty": self.penalty.log_adjustment}
        no_latent = torch.zeros(0, dtype=torch.int64)
        tensors["auxiliary"] = no_latent if self._auxiliary is None else self._auxiliary.dead
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore a state that `state` returned."""
        device = self.model.W_enc.device
        weights = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
        self.model.load_state_dict({"W_dec": weights["W_enc"], **weights})
        for p, name in self.trained.items():
            state = {key.split("/")[1]: v for key, v in tensors.items() if key.startswith(f"{name}/")}
            if state:
                moments = {key: in_large_pages(value.to(device), written=True) for key, value in state.items()}
                self.optimizer.state[p] = moments
        self.dead.silent = tensors["silent"].to(device)
        self.penalty.log_adjustment = tensors["log_penalty"].to(device)
        if len(self.firings):
            self.firings = tensors["firings"].to(device)
        if self.config.lambda_aux:
            self._auxiliary = Auxiliary(tensors["auxiliary"].to(device), self.config.k_aux)
