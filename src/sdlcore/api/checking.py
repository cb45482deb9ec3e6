"""Check activations, anchors and a start against the settings of a run, before anything is trained."""

from sdlcore.data.anchors import Anchors
from sdlcore.data.memory import Activations
from sdlcore.data.pairs import pair_sites
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.run import RunConfig
from sdlcore.solvers.settings import SolverConfig


def check_inputs(
    samples: Activations, config: RunConfig | SolverConfig, anchors: Anchors | None, start: SparseCoder | None
) -> None:
    """Refuse inputs that do not fit the settings, or each other.

    Raises
    ------
    ValueError
        Naming the input or the setting that is wrong.
    """
    if isinstance(config, SolverConfig):
        _check_start(start, *pair_sites(config.pair, samples.n_p, samples.n_r))
        return
    pair, n_q, batch_size = config.model.pair, config.model.n_q, config.training.batch_size
    _check_start(start, *pair_sites(pair, samples.n_p, samples.n_r), n_q)
    if start is not None and config.model.center and start.b_enc.any():
        raise ValueError("center would take the place of the encoder biases of start; leave center out")
    if batch_size > samples.rows:
        turned = f", or transpose it if it has {samples.n_p} samples" if samples.n_p > samples.rows else ""
        raise ValueError(
            f"{samples.path}: batch_size {batch_size} exceeds its {samples.rows} rows; "
            f"set batch_size to {samples.rows} or less{turned}"
        )
    if (anchors is not None) != config.loss.anchors:
        weight = config.loss.anchor_cosine or config.loss.lambda_anchor
        name = "anchor_cosine" if config.loss.anchor_cosine else "lambda_anchor"
        if anchors is None:
            raise ValueError(f"{name} is {weight}, but no anchors are given; give anchors, or leave {name} out")
        raise ValueError(f"{name} is {weight}, but anchors are given; leave {name} out for its default, or the anchors")
    if anchors is not None:
        _check_anchors(anchors, samples, pair, n_q)


def _check_anchors(anchors: Anchors, samples: Activations, pair: str, n_q: int) -> None:
    w_p, w_r, _ = anchors
    if w_p.shape[1] != samples.n_p:
        raise ValueError(f"anchors have {w_p.shape[1]} dimensions, but x has {samples.n_p}")
    if len(w_p) > n_q:
        raise ValueError(f"there are {len(w_p)} anchors, but n_q is {n_q}; raise n_q, or give fewer")
    if pair == "sae":
        return
    if w_r is None:
        raise ValueError(f"anchors are of x alone, but pair {pair} needs them of the target, too; give both arrays")
    if len(w_r) != len(w_p):
        raise ValueError(f"there are {len(w_p)} anchors of x, but {len(w_r)} of the target; expected pairs")
    if w_r.shape[1] != samples.n_r:
        raise ValueError(f"anchors of the target have {w_r.shape[1]} dimensions, but it has {samples.n_r}")


def _check_start(
    start: SparseCoder | None, sites_p: tuple[int, ...], sites_r: tuple[int, ...], n_q: int | None = None
) -> None:
    """Check what a training starts from, which gives n_q latents at most, or, for a solver, atoms alone."""
    if start is None:
        return
    (n, found_p), found_r = start.W_enc.shape, start.W_dec.shape[1]
    if found_r != sum(sites_r) or (n_q is not None and found_p != sum(sites_p)):
        raise ValueError(
            f"start maps {found_p} to {found_r} dimensions, but what is given has {sum(sites_p)} and {sum(sites_r)}"
        )
    if n_q is not None and n > n_q:
        raise ValueError(f"start has {n} latents, but n_q is {n_q}; raise n_q")
