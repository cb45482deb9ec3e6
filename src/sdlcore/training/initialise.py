"""Initialise a model from random numbers, from the data, or from another model."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdlcore.config import ModelConfig
from sdlcore.data.arrays import ROWS_AT_ONCE, Readable
from sdlcore.data.batches import read_pair
from sdlcore.data.pairs import pair_sites
from sdlcore.extras import extra
from sdlcore.model.archetypes import Archetypes
from sdlcore.model.coder import SparseCoder
from sdlcore.model.scaling import Scaling, scale_latents
from sdlcore.random_streams import stream, torch_stream


def initial_model(
    config: ModelConfig, widths: Sequence[int], seed: int, scaling: Scaling, sample: Callable[[], Readable]
) -> SparseCoder:
    """Return the initial model of a training with this seed.

    Parameters
    ----------
    config
        Settings of the model.
    widths
        Dimensions of the sites of the activations.
    seed
        Seed of the initial weights.
    scaling
        Scaling of the model's activations.
    sample
        Returns activations; called if ``initialisation`` is samples, or for ``archetypes``.
    """
    model = SparseCoder.from_config(config, *pair_sites(config.pair, *widths), torch_stream(seed, "initialisation"))
    if config.initialisation == "samples":
        start_from_samples(model, sample(), scaling, stream(seed, "initialisation", "samples"))
    if config.archetypes is not None:
        rng = stream(seed, "initialisation", "archetypes")
        centroids_CR = centroids(sample(), config.pair, config.archetypes, scaling, rng)
        model.archetypes = Archetypes(centroids_CR, config.n_q, config.relaxation)
        model.constrain()
        if config.initialisation == "tied" and config.pair != "transcoder":
            model.W_enc.detach().copy_(config.init_scale * normalize(model.W_dec.detach()))
    return model


@torch.no_grad()
def start_from_data(model: SparseCoder, x_BP: Tensor) -> None:
    """Set the thresholds or encoder biases of a fresh model from one batch (B x n_p), if ``init_l0`` is given.

    Raises
    ------
    ValueError
        If the samples have fewer than ``init_l0`` positive pre-activations on average.
    """
    l0 = model.config.init_l0
    if l0 is None:
        return
    pre_BQ = x_BP @ model.W_enc.T + model.b_enc
    n_active = min(round(l0 * len(pre_BQ)), pre_BQ.numel())
    threshold = pre_BQ.flatten().topk(max(1, n_active)).values[-1]
    if not threshold > 0:
        raise ValueError(f"init_l0 = {l0} is more than the mean number of positive pre-activations; lower it")
    model.sigma.set_initial_threshold(threshold, model.b_enc)


PER_CENTROID = 32
"""Samples that k-means gets for each centroid."""


def centroids(rows: Readable, pair: str, number: int, scaling: Scaling, rng: np.random.Generator) -> Tensor:
    """Return centroids of the scaled targets (C x n_r), by mini-batch k-means on random samples.

    Raises
    ------
    ValueError
        If there are fewer samples than centroids.
    """
    with extra("sklearn"):
        from sklearn.cluster import MiniBatchKMeans  # only here: importing it is slow

    if rows.rows < number:
        raise ValueError(f"archetypes is {number}, but there are only {rows.rows} samples; lower archetypes")
    chosen = np.sort(rng.choice(rows.rows, min(PER_CENTROID * number, rows.rows), replace=False))
    x_NR = torch.cat([x_r for _, _, x_r in _drawn(rows, pair, chosen, scaling)]).numpy()
    # without early stopping, which would depend on a rounded sum
    learner = MiniBatchKMeans(
        number,
        batch_size=4096,
        max_iter=10,
        n_init=1,
        init_size=min(3 * number, len(x_NR)),
        tol=0.0,
        max_no_improvement=None,
        random_state=int(rng.integers(2**31)),
    )
    return torch.from_numpy(learner.fit(x_NR).cluster_centers_).float()


def _drawn(rows: Readable, pair: str, chosen: np.ndarray, scaling: Scaling) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield scaled x_p and x_r of chosen rows, in blocks, with the slice of ``chosen`` that each block covers."""
    for start in range(0, rows.rows, ROWS_AT_ONCE):
        first, last = np.searchsorted(chosen, (start, start + ROWS_AT_ONCE))
        if first == last:
            continue
        here = chosen[first:last] - start
        x = read_pair(rows, pair, start, start + ROWS_AT_ONCE)
        yield slice(first, last), *scaling(*(torch.from_numpy(part[here].astype(np.float32)) for part in x))


@torch.no_grad()
def start_from_samples(model: SparseCoder, rows: Readable, normalisation: Scaling, rng: np.random.Generator) -> None:
    """Replace a fresh model's rows by random samples: unit decoder rows; encoder rows of norm ``init_scale``.

    A latent whose sample is zero keeps its random direction.

    Parameters
    ----------
    model
        A model of normalised activations.
    rows
        Samples. Each latent gets a different one if there are enough.
    normalisation
        The normalisation that ``model`` is trained with.
    rng
        Draws the samples.
    """
    config = model.config
    chosen = np.sort(rng.choice(rows.rows, config.n_q, replace=config.n_q > rows.rows))
    place = rng.permutation(config.n_q)
    for block, x_p, x_r in _drawn(rows, config.pair, chosen, normalisation):
        some = x_p.any(1) & x_r.any(1)
        latents = torch.from_numpy(place[block])[some]
        model.W_dec[latents] = normalize(x_r[some])
        model.W_enc[latents] = config.init_scale * normalize(x_p[some])
    model.constrain()


@torch.no_grad()
def start_from_model(model: SparseCoder, start: SparseCoder, normalisation: Scaling) -> None:
    """Copy another model's latents into the first latents of a fresh one; the others keep their random weights.

    Parameters
    ----------
    model
        A model of normalised activations. If it is without biases, the biases of ``start`` are not copied.
    start
        A model of raw activations, as saved, with the same dimensions and at most as many latents. Thresholds and
        other parameters of its activation are copied if ``model`` has the same activation, and its linear path if
        ``model`` has one.
    normalisation
        The normalisation that ``model`` is trained with.

    Raises
    ------
    ValueError
        If the decoder of ``model`` consists of archetypes.
    """
    if model.archetypes is not None:
        raise ValueError("start gives decoder rows, but archetypes compute them; leave start or archetypes out")
    n = len(start.W_enc)
    # `start` may be on another device, such as the GPU that it was trained on
    with torch.device(model.W_enc.device):
        copied = SparseCoder.from_config(start.config, start.input_sites, start.target_sites)
    copied.load_state_dict(start.state_dict())
    start = copied
    normalisation.unfold(start)
    _balance_latents(start, model.config)
    # the encoder rows last, because tied models start from them
    model.W_dec[:n] = start.W_dec
    model.W_enc[:n] = start.W_enc
    if model.config.bias:
        model.b_enc[:n] = start.b_enc
        model.b_dec.copy_(start.b_dec)
    if model.config.skip and start.config.skip:
        model.W_skip.copy_(start.W_skip)
    if type(start.sigma) is type(model.sigma):
        parameters = start.sigma.state_dict()
        for name, value in model.sigma.state_dict().items():
            (value[:n] if value.ndim else value).copy_(parameters[name])
    model.constrain()


def _balance_latents(model: SparseCoder, config: ModelConfig) -> None:
    """Change the units of latents in place: unit decoder rows if they will be constrained, equal rows if tied.

    Each decoder row is divided by a number; its latent's encoder row, bias and threshold are multiplied by it. So the
    model stays the same, except that a selection of the largest latents changes if rows have different norms.
    """
    norms_Q = model.W_dec.norm(dim=1)
    if config.decoder_norm == "unit":
        units_Q = norms_Q
    elif config.tied and model.config.tied:
        units_Q = (norms_Q / model.W_enc.norm(dim=1)).sqrt()
    else:
        return
    scale_latents(model, torch.where(units_Q.isfinite() & (units_Q > 0), units_Q, 1.0))
