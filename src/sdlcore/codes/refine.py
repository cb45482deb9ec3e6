"""Improve the rows of a dictionary with posterior codes, after training: find missing features, and refit rows.

Rounds of mean shift (`sdlcore.codes.mean_shift`) add latents for features that the residuals of posterior codes
contain. Young rows are refitted one by one. After the last round, the latents that are most often active stay. Then all
rows are refitted together, by least squares on the supports that the search finds (the method of optimal directions,
Engan et al. 1999).

A feature may occur only together with a more frequent one, as a child with its parent. Then least squares can move any
share of the parent into the child's row without a larger error. So the refit removes from a row the directions of more
frequent latents that are active in most of its samples. True features are nearly orthogonal in many dimensions.
"""

import copy
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import torch
from annotated_types import Ge, Le
from scipy.sparse import csr_array
from torch import Tensor
from tqdm import tqdm

from sdlcore.codes.mean_shift import mean_shift
from sdlcore.codes.opening import N_SAMPLES, make_or_open, open_dictionary, open_samples
from sdlcore.codes.posterior import statistics_of, with_posterior_codes
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.run_folder import REPLACED
from sdlcore.model.activations.posterior import Statistics
from sdlcore.model.activations.posterior import codes as posterior_codes
from sdlcore.model.coder import SparseCoder
from sdlcore.model.encoding_tools import Weights
from sdlcore.random_streams import torch_stream
from sdlcore.settings import Seed, Total, checked
from sdlcore.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sdlcore.training.loop import Checkpointing

log = logging.getLogger(__name__)

ROOM = 2
"""Largest number of latents during the rounds, as a multiple of the dictionary's."""
STARTS = 3
"""Each round starts mean shift from the dictionary's number of latents divided by this."""
LAST = 3
"""Number of last rounds that add no latent."""
YOUNG = 3
"""Number of rounds that refit the row of a new latent."""
SELDOM = 10
"""A latent that fewer samples of a round activate makes room for a new one."""
KNOWN = 0.8
"""Largest cosine of a new latent with others."""
RARE = 0.002
"""First guess of the share of samples that activate a new latent."""
REFIT = 5
"""Number of rounds' samples that the refit of all rows reads."""
RIDGE = 0.01
"""Ridge of both least-squares problems. The refit of rows takes it as a share of a row's sum of squared codes; it keeps
rows near their earlier values. The fit of codes on a support adds it to the rows' squared norms, which are 1."""
TOGETHER, FREQUENT = 0.6, 1.2
"""A latent is a parent of another if it is active in more than `TOGETHER` of the other's samples, and `FREQUENT` times
as often."""
LEANING, OWN = 0.03, 0.3
"""A row whose |cosine| with a parent exceeds `LEANING` loses the parent's direction, unless the norm of the
rest would be `OWN` or less."""
PART = 4096
"""Number of samples whose codes are solved for at once."""

ReadRound = Callable[[int], Tensor]
"""Returns the samples of a round (B x R, float32, on the CPU), with the same B for each."""
Rounds = Annotated[int, Ge(4), Le(1000)]
"""Rounds of mean shift. The last three add no latent."""


def refine(
    dictionary: Dictionary | str | Path,
    x: Any,
    rounds: int = 10,
    *,
    n_samples: int = N_SAMPLES,
    seed: int = 0,
    progress: bool = True,
    out: str | Path | None = None,
) -> Dictionary:
    """Improve the decoder rows of an autoencoder, and return it with posterior codes.

    Each round of mean shift replaces latents that are seldom active by directions of features that the residuals of
    posterior codes contain. All rows are then refitted once by least squares. The number of latents stays.

    Parameters
    ----------
    dictionary
        An autoencoder, or its path in any format of `load`. It is not changed. If it has no posterior codes, they
        are fitted first.
    x
        Activations or batches, as in `fit`. Arrays and stores are read in random order, and again after their end.
    rounds
        Number of rounds, at least 4, since the last three add no latent.
    n_samples
        Number of samples of a round. The refit reads five times as many.
    seed
        Seed of the order of samples and of mean shift's starts.
    progress
        Show a progress bar of rounds.
    out
        A folder for the dictionary. The same call resumes after the last finished round, or opens the finished
        dictionary.

    Returns
    -------
    A new dictionary with as many latents and posterior codes. A latent of ``dictionary`` keeps its index unless mean
    shift replaced it; ``provenance["replaced"]`` lists the indices of replaced latents.

    Raises
    ------
    ValueError
        If the dictionary is no autoencoder or has latents below zero, if ``x`` has other dimensions, or if batches end
        early.
    """
    start = open_dictionary(dictionary)
    record = {"rounds": checked("rounds", Rounds, rounds), "n_samples": checked("n_samples", Total, n_samples)}
    record["seed"] = checked("seed", Seed, seed)
    with open_samples(x, start.coder, seed) as samples:
        number = -(-n_samples // samples.size)
        number = number if samples.in_pass is None else min(number, samples.in_pass)

        def draw(round_: int) -> Tensor:
            return samples.read(range(round_ * number, (round_ + 1) * number))

        def make(facts: dict[str, Any], keep: Checkpointing | None) -> Dictionary:
            if start.coder.config.activation == "posterior":
                coder = copy.deepcopy(start.coder)
            else:
                coder = with_posterior_codes(start.coder, samples.rows.sample(), n_samples, progress)
            generator = torch_stream(seed, "mean shift")
            new_coder, replaced = refine_rows(coder, draw, rounds, generator, progress, keep)
            return Dictionary(new_coder, {**facts, REPLACED: replaced})

        return make_or_open(start, "refine", "refined", record, samples, out, make)


class PosteriorLatents(NamedTuple):
    """Latents with posterior codes, on the CPU."""

    rows: Tensor
    """Unit decoder rows (Q x R)."""
    b_dec: Tensor
    """Decoder bias (R)."""
    statistics: Statistics
    origins: Tensor
    """Index of each latent in the dictionary that is refined (Q); -1 for a new latent."""

    def take(self, latents: Tensor) -> Self:
        """Return the chosen latents."""
        log_odds, means, variances, noise = self.statistics
        statistics = Statistics(log_odds[latents], means[latents], variances[latents], noise)
        return self._replace(rows=self.rows[latents], statistics=statistics, origins=self.origins[latents])

    def extend(self, rows: Tensor) -> Self:
        """Return these latents and new ones. Codes of new latents are guessed to be like the typical code."""
        log_odds, means, variances, noise = self.statistics
        new = torch.ones(len(rows))
        statistics = Statistics(
            torch.cat([log_odds, math.log(RARE / (1 - RARE)) * new]),
            torch.cat([means, means.median() * new]),
            torch.cat([variances, 2 * variances.median() * new]),
            noise,
        )
        origins = torch.cat([self.origins, torch.full((len(rows),), -1)])
        return self._replace(rows=torch.cat([self.rows, rows]), statistics=statistics, origins=origins)

    def in_place(self) -> tuple[Self, list[int]]:
        """Return the latents in the order of the dictionary, and the indices at which a new one replaced another.

        A latent of the dictionary keeps its index. New latents take the free indices.
        """
        is_free = torch.ones(len(self.rows), dtype=torch.bool)
        is_free[self.origins[self.origins >= 0]] = False
        replaced = torch.nonzero(is_free).squeeze(1)
        indices = self.origins.clone()
        indices[indices < 0] = replaced
        return self.take(indices.argsort())._replace(origins=indices.sort().values), replaced.tolist()

    def encode(self, x_BR: Tensor) -> csr_array:
        """Return the codes of samples (B x Q)."""
        nothing = torch.empty(0)
        sample, latent, code = posterior_codes(x_BR, Weights(nothing, nothing, self.rows, self.b_dec), self.statistics)
        shape = len(x_BR), len(self.rows)
        return csr_array((code.numpy(), (sample.numpy(), latent.numpy())), shape=shape)


@torch.no_grad()
def refine_rows(
    model: SparseCoder,
    draw: ReadRound,
    rounds: int,
    generator: torch.Generator,
    progress: bool = False,
    checkpoints: Checkpointing | None = None,
) -> tuple[SparseCoder, list[int]]:
    """Improve the decoder rows of a dictionary with posterior codes, in place.

    Return the dictionary, and the indices of replaced latents. Other latents keep their index, and the number of
    latents stays. After ``rounds`` rounds, all rows are refitted to the samples of `REFIT` more.

    The dictionary has posterior codes. ``generator`` draws mean shift's starts on the CPU. The state after each round
    of mean shift is kept at ``checkpoints``; a state there is continued.
    """
    n_q = len(model.W_dec)
    buffers = (model.sigma.get_buffer(name).cpu() for name in Statistics._fields)
    scale = model.sigma.get_buffer("scale").cpu()
    latents = PosteriorLatents(
        model.W_dec.cpu(), model.b_dec.cpu() / scale, Statistics._make(buffers), torch.arange(n_q)
    )
    ages, first_round = torch.full((n_q,), YOUNG), 0
    saved = None if checkpoints is None else load_checkpoint(checkpoints.path)
    if saved is not None:
        statistics = Statistics(*(saved.tensors[name] for name in Statistics._fields))
        latents = PosteriorLatents(saved.tensors["rows"], saved.tensors["b_dec"], statistics, saved.tensors["origins"])
        ages, first_round = saved.tensors["ages"], saved.step
        generator.set_state(saved.tensors["generator"])
    bar = tqdm(total=rounds + REFIT + 2, initial=first_round, unit="round", disable=not progress)

    def scaled(round_: int) -> Tensor:
        bar.update()
        return draw(round_) / scale

    for round_ in range(first_round, rounds):
        x_BR = scaled(round_)
        codes = latents.encode(x_BR)
        latents, residuals_BR, counts = _estimate(latents, x_BR, codes)
        young = torch.nonzero((ages < YOUNG) & (counts >= SELDOM)).squeeze(1)
        latents = latents._replace(rows=_refit_each(latents.rows, codes, residuals_BR, young))
        ages += 1
        if round_ < rounds - LAST:
            noise = float(latents.statistics.noise)
            new_KR = mean_shift(residuals_BR, -(-n_q // STARTS), noise, generator)
            new_KR = new_KR[((new_KR @ latents.rows.T).amax(1) < KNOWN)]
            # the number of latents never falls below n_q
            order = counts.argsort(descending=True, stable=True)
            frequent_latents = order[: max(int((counts >= SELDOM).sum()), n_q - len(new_KR))].sort().values
            new_KR = new_KR[: max(0, ROOM * n_q - len(frequent_latents))]
            latents = latents.take(frequent_latents).extend(new_KR)
            ages = torch.cat([ages[frequent_latents], torch.zeros(len(new_KR))])
            log.info("mean shift, round %d: %d new latents, noise %.4g", round_ + 1, len(new_KR), noise)
        if checkpoints is not None:
            state = {**latents._asdict(), **latents.statistics._asdict(), "ages": ages}
            del state["statistics"]
            state = {name: tensor.clone() for name, tensor in state.items()} | {"generator": generator.get_state()}
            checkpoint = Checkpoint(round_ + 1, 0.0, [], state)
            save_checkpoint(checkpoints.path, checkpoint, checkpoints.facts)
    x_BR = scaled(rounds)
    _, _, counts = _estimate(latents, x_BR, latents.encode(x_BR))
    latents = latents.take(counts.argsort(descending=True, stable=True)[:n_q].sort().values)
    latents = _refit_all(latents, scaled, range(rounds + 1, rounds + 1 + REFIT))
    x_BR = scaled(rounds + 1 + REFIT)
    for _ in range(2):
        latents, _, _ = _estimate(latents, x_BR, latents.encode(x_BR))
    bar.close()
    (rows, b_dec, statistics, _), replaced = latents.in_place()
    parameters = {f"sigma.{name}": value for name, value in statistics._asdict().items()}
    model.load_state_dict(model.state_dict() | parameters | {"W_enc": rows, "W_dec": rows, "b_dec": b_dec * scale})
    return model, replaced


def _estimate(latents: PosteriorLatents, x_BR: Tensor, codes: csr_array) -> tuple[PosteriorLatents, Tensor, Tensor]:
    """Return the latents with statistics and bias from their codes, the centred residuals (B x R), and the number of
    samples that activate each latent (Q)."""
    residuals_BR = x_BR - latents.b_dec - torch.from_numpy(codes @ latents.rows.numpy())
    mean_R = residuals_BR.mean(0)
    residuals_BR -= mean_R
    counts = torch.from_numpy(np.bincount(codes.indices, minlength=len(latents.rows)))
    sums = torch.from_numpy(np.asarray(codes.sum(axis=0, dtype=np.float64)).ravel())
    squares = torch.from_numpy(np.asarray(codes.power(2).sum(axis=0, dtype=np.float64)).ravel())
    noise = residuals_BR.square().mean(dtype=torch.float64)
    statistics = statistics_of(counts.double(), sums, squares, noise, len(x_BR))
    if statistics is None:  # nothing is active, so keep the old ones
        statistics = latents.statistics
    return latents._replace(b_dec=latents.b_dec + mean_R, statistics=statistics), residuals_BR, counts


def _refit_each(rows_QR: Tensor, codes: csr_array, residuals_BR: Tensor, which: Tensor) -> Tensor:
    """Refit some rows one by one. Each is fitted to the residuals after its own part was added back."""
    codes_BK = codes.tocsc()[:, which.numpy()]
    own_K = torch.from_numpy(np.asarray(codes_BK.power(2).sum(axis=0), dtype=np.float32).ravel())
    moved_KR = torch.from_numpy(codes_BK.T @ residuals_BR.numpy()) + own_K[:, None] * rows_QR[which]
    rows_QR = rows_QR.clone()
    rows_QR[which] = torch.nn.functional.normalize(moved_KR)
    return rows_QR


def _refit_all(latents: PosteriorLatents, draw: ReadRound, numbers: range) -> PosteriorLatents:
    """Refit all rows together by least squares, and remove each row's parents from it."""
    n_q = len(latents.rows)
    squares_QQ, together_QQ = torch.zeros(n_q, n_q), torch.zeros(n_q, n_q)
    products_QR = torch.zeros_like(latents.rows)
    for number in numbers:
        x_BR = draw(number)
        codes = latents.encode(x_BR)
        latents, _, _ = _estimate(latents, x_BR, codes)
        centred_BR = x_BR - latents.b_dec
        free = _least_squares(codes, centred_BR, latents.rows)
        products_QR += torch.from_numpy(free.T @ centred_BR.numpy())
        squares_QQ += torch.from_numpy((free.T @ free).toarray())
        active = (codes > 0).astype(np.float32)
        together_QQ += torch.from_numpy((active.T @ active).toarray())
    counts_Q, ridge_Q = together_QQ.diagonal(), RIDGE * squares_QQ.diagonal().clamp(min=1e-3)
    system_QQ = squares_QQ.double() + ridge_Q.double().diag()
    rows_QR = torch.linalg.solve(system_QQ, (products_QR + ridge_Q[:, None] * latents.rows).double()).float()
    seldom_Q = counts_Q < SELDOM
    rows_QR = torch.where(seldom_Q[:, None], latents.rows, torch.nn.functional.normalize(rows_QR))
    return latents._replace(rows=_without_parents(rows_QR, together_QQ))


def _least_squares(codes: csr_array, centred_BR: Tensor, rows_QR: Tensor) -> csr_array:
    """Return the least-squares codes on the same supports. Negative ones become zero."""
    gram_QQ, values = rows_QR @ rows_QR.T, np.empty_like(codes.data)
    for start in range(0, len(centred_BR), PART):
        x_BR = centred_BR[start : start + PART]
        offsets = codes.indptr[start : start + len(x_BR) + 1]
        counts = np.diff(offsets)
        entry_mask = torch.from_numpy(np.arange(counts.max(initial=1)) < counts[:, None])
        chosen_BS = torch.zeros(entry_mask.shape, dtype=torch.int64)
        chosen_BS[entry_mask] = torch.from_numpy(codes.indices[offsets[0] : offsets[-1]]).long()
        systems_BSS = gram_QQ[chosen_BS[:, :, None], chosen_BS[:, None, :]]
        systems_BSS *= entry_mask[:, :, None] & entry_mask[:, None, :]
        systems_BSS.diagonal(dim1=1, dim2=2).add_(torch.where(entry_mask, RIDGE, 1.0))
        inner_BS = torch.where(entry_mask, (x_BR @ rows_QR.T).gather(1, chosen_BS), 0.0)
        solved_BS = torch.linalg.solve(systems_BSS, inner_BS)
        values[offsets[0] : offsets[-1]] = solved_BS[entry_mask].clamp(min=0).numpy()
    return csr_array((values, codes.indices, codes.indptr), shape=codes.shape)


def _without_parents(rows_QR: Tensor, together_QQ: Tensor) -> Tensor:
    """Return unit rows without their parts along the rows of their parents, the most frequent latents first.

    ``together_QQ`` counts the samples that activate two latents (Q x Q). Rows that would lose nearly all stay.
    """
    counts_Q = together_QQ.diagonal()
    is_parent_QQ = (together_QQ > TOGETHER * counts_Q[:, None]) & (counts_Q > FREQUENT * counts_Q[:, None])
    rows_QR = rows_QR.clone()
    for i in counts_Q.argsort(descending=True, stable=True).tolist():
        parents_KR = rows_QR[is_parent_QQ[i]]
        parents_KR = parents_KR[(parents_KR @ rows_QR[i]).abs() > LEANING]
        if not len(parents_KR):
            continue
        basis_RK = torch.linalg.qr(parents_KR.T).Q
        rest_R = rows_QR[i] - basis_RK @ (basis_RK.T @ rows_QR[i])
        if float(rest_R.norm()) > OWN:
            rows_QR[i] = rest_R / rest_R.norm()
    return rows_QR
