"""Train one dictionary: scale activations, draw the model, train it, and fold the scaling into its weights."""

from collections.abc import Sequence
from threading import Event

import torch

from sdlcore.data.anchors import Anchors
from sdlcore.data.batches import TrainingRows
from sdlcore.data.pairs import make_direction_pair, pair_sites
from sdlcore.model.coder import SparseCoder
from sdlcore.parallel.groups import ALONE, Processes
from sdlcore.random_streams import torch_stream
from sdlcore.run import RunConfig
from sdlcore.training import normalisation
from sdlcore.training.anchor_weight import anchored_share, choose_weight, with_weight
from sdlcore.training.distributed import divide, unite
from sdlcore.training.history import Row, Sink, Watch
from sdlcore.training.initialise import initial_model, start_from_model
from sdlcore.training.loop import Checkpointing, train
from sdlcore.training.own_parts import OwnParts
from sdlcore.training.posterior import with_posterior_codes
from sdlcore.training.refinement import Draw, refine


# even if a notebook has switched gradients off, as many that inspect models do
@torch.inference_mode(False)
@torch.enable_grad()
def train_dictionary(
    rows: TrainingRows,
    config: RunConfig,
    seed: int,
    device: torch.device,
    anchors: Anchors | None = None,
    start: SparseCoder | None = None,
    sinks: Sequence[Sink] = (),
    watch: Watch | None = None,
    checkpoints: Checkpointing | None = None,
    processes: Processes = ALONE,
    stop: Event | None = None,
    own: OwnParts = OwnParts(),  # noqa: B008, a tuple
) -> tuple[SparseCoder, list[Row]]:
    """Train a dictionary of raw activations; return it with the history of its training.

    Parameters
    ----------
    rows
        Activations to train on.
    config, seed
        Settings, and the seed of initial weights and resampling.
    device
        Device to train on; the dictionary stays there.
    anchors
        Directions that the first latents are anchored to.
    start
        A model whose latents initialise the first latents.
    sinks, watch, checkpoints, stop, own
        As in `sdlcore.training.loop.train`.
    processes
        Processes that train the dictionary together. Only the first gets the whole dictionary.

    Raises
    ------
    ValueError, DivergedError, KeyboardInterrupt, SystemExit
        As in `sdlcore.training.loop.train`.
    """
    pair = config.model.pair
    sites = pair_sites(pair, *rows.widths)
    scaling: normalisation.Scaling
    if config.training.whiten:
        scaling = normalisation.fit_whitening(rows.sample(), pair)
    elif config.training.normalise:
        scaling = normalisation.fit(rows.sample(), pair)
    else:
        scaling = normalisation.no_scaling(*(sum(widths) for widths in sites))

    plain = config.model.changed(posterior_samples=0, mean_shift_rounds=0)

    def initial() -> SparseCoder:
        model = initial_model(plain, rows.widths, seed, scaling, rows.sample)
        if start is not None:
            start_from_model(model, start, scaling)
        if processes.all.size > 1:
            divide(model, processes)
        return model.to(device)

    directions = None
    if anchors is not None:
        w_p, w_r = make_direction_pair(pair, *anchors.sites)
        directions = (torch.from_numpy(w_p), torch.from_numpy(w_r))
    near = config.loss.anchor_cosine
    if near is not None:
        if directions is None:
            raise ValueError(f"anchor_cosine is {near}, but no anchors are given; set both or neither")
        _, w_r_KR = normalisation.directions(scaling, *directions)

        def share_held(trial: RunConfig) -> float:
            model = initial()
            trial_parts = own._replace(callbacks=())
            train(model, rows.batches, trial, torch_stream(seed, "resampling"), scaling, directions, own=trial_parts)
            return anchored_share(model, w_r_KR, near)

        weight = choose_weight(config, share_held)
        config, watch = with_weight(config, weight), _telling(watch, weight)
    model = initial()
    history = train(
        model,
        rows.batches,
        config,
        torch_stream(seed, "resampling"),
        scaling,
        directions,
        checkpointing=checkpoints,
        sinks=sinks,
        watch=watch,
        stop=stop,
        own=own,
    )
    unite(model)
    if processes.all.rank == 0:
        scaling.to(model.W_enc.device).fold(model)
        if config.model.posterior_samples:
            model = with_posterior_codes(model, rows.sample(), config.model.posterior_samples)
        if rounds := config.model.mean_shift_rounds:
            model = refine(model, _later(rows, config), rounds, torch_stream(seed, "mean shift"))
    return model, history


def _later(rows: TrainingRows, config: RunConfig) -> Draw:
    """Return the samples of rounds after the training, which continue the batches of its steps."""
    steps = -(-config.model.posterior_samples // config.training.batch_size)

    def draw(round_: int) -> torch.Tensor:
        first = config.training.steps + round_ * steps
        return torch.cat([torch.from_numpy(rows.batches(step)[0]).float() for step in range(first, first + steps)])

    return draw


def _telling(watch: Watch | None, weight: float) -> Watch:
    """Return a watch that also reports the weight of the anchors."""
    return lambda rows: {**(watch(rows) if watch else {}), "lambda_anchor": weight}
