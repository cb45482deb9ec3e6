"""Compare the sites of a crosscoder: which latents they share, and which latents are dedicated to some of them."""

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import torch
from annotated_types import Gt, Lt

from sdlcore.data.arrays import Activations
from sdlcore.data.conversion import activations
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import coder_of
from sdlcore.evaluation.samples import batches
from sdlcore.extras import data_frame
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import checked
from sdlcore.training.normalisation import fit_normalisation

if TYPE_CHECKING:
    import pandas as pd

THRESHOLD = 0.2
"""Largest relative norm at which a latent counts as absent from a site. With two sites this is the bound of Minder et
al. for latents of one model, .9 on their scale from 0 to 1."""
SHARED, DEAD = "shared", "dead"


def shared_and_dedicated(
    crosscoder: Dictionary | SparseCoder, x: Any = None, *, threshold: float = THRESHOLD
) -> "pd.DataFrame":
    """Return the decoder norms of each latent at each site, and whether sites share the latent.

    To compare two models, train a crosscoder on the activations of both for the same tokens, ``fit([x_base, x_chat])``.
    A latent whose decoder norm at one site is close to zero is dedicated to the other (Lindsey et al. 2024).

    An L1 penalty can also move a decoder norm to zero although the latent's concept occurs at the site (Minder et al.
    2025, arXiv 2504.02922). It shrinks a small norm to nothing, or two latents replace a shared one. Their *latent
    scaling* shows both. Let f be the latent's values, and d its direction at its largest site. With ``x``, the table
    contains the best multiple of f d at each site of this width, relative to the largest site. One multiple explains
    the site's error without this latent (``scaling_error``), the other its reconstruction
    (``scaling_reconstruction``). Both are close to zero for a latent that is absent from the site. TopK and BatchTopK
    crosscoders rarely have such artefacts.

    Parameters
    ----------
    crosscoder
        A crosscoder of two or more sites.
    x
        Samples, as in `fit`. The norms are then divided by the mean distance of the site's activations from their mean,
        which makes sites with different scales and widths comparable. Without samples, norms are not divided.
    threshold
        A latent is absent from a site if its norm there is at most this share of its largest norm.

    Returns
    -------
    A table with a row for each latent:

    class
        ``shared`` if the latent is present at all sites; ``site 0`` or ``sites 0, 2`` if it is dedicated to these;
        ``dead`` if its norms are zero, or if it is never active on ``x``.
    norm_site0, norm_site1, ...
        Decoder norms.
    relative_norm_site0, relative_norm_site1, ...
        Decoder norms, divided by the latent's largest one.
    active
        Share of the samples that activate the latent; only with ``x``, as the following columns.
    scaling_error_site0, ..., scaling_reconstruction_site0, ...
        Latent scaling; 1 at the latent's largest site, NaN at sites with another width and for dead latents.

    Raises
    ------
    ValueError
        If the dictionary is not a crosscoder, or the samples have other dimensions.
    """
    coder = coder_of(crosscoder)
    threshold = checked("threshold", Annotated[float, Gt(0), Lt(1)], threshold)
    if coder.config.pair != "crosscoder":
        raise ValueError(f"dictionary has pair {coder.config.pair}, expected a crosscoder; train one by fit([x0, x1])")
    sites = [part.detach().cpu().double() for part in coder.W_dec.split(list(coder.target_sites), dim=1)]
    norms_QS = np.stack([part.norm(dim=1).numpy() for part in sites], axis=1)
    measured: dict[str, np.ndarray] = {}
    alive_Q = np.asarray(norms_QS.any(axis=1))
    if x is not None:
        with activations(x) as store:
            if store.widths != coder.target_sites:
                raise ValueError(f"x has sites of {store.widths} dimensions, but the crosscoder {coder.target_sites}")
            norms_QS = norms_QS / _distances(store)
            sums = _sums(coder, store)
        alive_Q &= sums.active > 0
        measured = {"active": sums.active / sums.rows, **_scalings(sums, sites, norms_QS.argmax(axis=1))}
    largest_Q = norms_QS.max(axis=1)
    relative_QS = norms_QS / np.where(largest_Q > 0, largest_Q, 1.0)[:, None]
    present_QS: np.ndarray = relative_QS > threshold
    columns: dict[str, Any] = {"class": [_class(*latent) for latent in zip(present_QS, alive_Q, strict=True)]}
    for name, values_QS in (("norm", norms_QS), ("relative_norm", relative_QS)):
        columns |= {f"{name}_site{site}": values_Q for site, values_Q in enumerate(values_QS.T)}
    return data_frame(columns | measured).rename_axis("latent")


def _class(present: np.ndarray, alive: bool) -> str:
    if not alive:
        return DEAD
    if present.all():
        return SHARED
    sites = np.flatnonzero(present)
    return f"site{'s' if len(sites) > 1 else ''} {', '.join(map(str, sites))}"


def _distances(store: Activations) -> np.ndarray:
    """Return the mean distance of each site's activations from their mean; the root of the width if all are equal."""
    scale = fit_normalisation(store, "crosscoder").scale_r
    # the normalisation brings this distance to the root of the width
    firsts = np.cumsum([0, *store.widths[:-1]])
    return np.array([width**0.5 / float(scale[first]) for first, width in zip(firsts, store.widths, strict=True)])


class LatentSums(NamedTuple):
    """Sums over all samples, for latents f (Q) and the sites' activations x and reconstructions x_hat."""

    rows: int
    active: np.ndarray
    """Number of samples that activate each latent."""
    squares: torch.Tensor
    """sum f^2 (Q)."""
    errors: list[torch.Tensor]
    """sum f (x - x_hat) at each site (Q x width)."""
    reconstructions: list[torch.Tensor]
    """sum f x_hat at each site (Q x width)."""


@torch.no_grad()
def _sums(coder: SparseCoder, store: Activations) -> LatentSums:
    n_q, widths = coder.config.n_q, list(coder.target_sites)
    active, squares = np.zeros(n_q), np.zeros(n_q)
    errors, reconstructions = np.zeros((n_q, sum(widths))), np.zeros((n_q, sum(widths)))
    for x, _ in batches(store, "crosscoder"):
        out = coder(torch.from_numpy(x).to(coder.W_enc))
        latents, x_hat = out.csr().astype(np.float64), out.x_hat.cpu().double().numpy()
        active += latents.count_nonzero(axis=0)
        squares += np.asarray(latents.multiply(latents).sum(axis=0)).ravel()
        errors += latents.T @ (x - x_hat)
        reconstructions += latents.T @ x_hat
    by_site = [list(torch.from_numpy(sums).split(widths, dim=1)) for sums in (errors, reconstructions)]
    return LatentSums(store.rows, active, torch.from_numpy(squares), *by_site)


def _scalings(sums: LatentSums, sites: list[torch.Tensor], largest_Q: np.ndarray) -> dict[str, np.ndarray]:
    """Return the latent scalings of the error and the reconstruction at each site.

    The multiple beta that minimises the sum of |beta f d - y|^2 is <d, sum f y> / (|d|^2 sum f^2). For the error, y is
    x - x_hat + f d_site, the error without the latent.
    """
    betas: dict[str, np.ndarray] = {}
    for site, site_directions in enumerate(sites):
        for target in ("error", "reconstruction"):
            betas[f"scaling_{target}_site{site}"] = np.full(len(largest_Q), np.nan)
        for place, directions in enumerate(sites):
            if directions.shape[1] != site_directions.shape[1]:
                continue
            at_site = largest_Q == place
            d, divisor = directions[at_site], directions[at_site].square().sum(1) * sums.squares[at_site]
            without = sums.errors[site][at_site] + sums.squares[at_site][:, None] * site_directions[at_site]
            for target, total in (("error", without), ("reconstruction", sums.reconstructions[site][at_site])):
                beta = (d * total).sum(1) / divisor  # NaN for dead latents
                betas[f"scaling_{target}_site{site}"][at_site] = beta.numpy()
    for target in ("error", "reconstruction"):
        names = [f"scaling_{target}_site{site}" for site in range(len(sites))]
        reference = np.stack([betas[name] for name in names])[largest_Q, np.arange(len(largest_Q))]
        with np.errstate(divide="ignore", invalid="ignore"):  # dead latents
            betas |= {name: betas[name] / reference for name in names}
    return betas
