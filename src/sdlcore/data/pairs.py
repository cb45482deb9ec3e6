"""Sites: the representations of a sample that a dictionary reads and writes (section 2.4).

A source provides one or more sites, representations of the same samples: layers of a model, or of several models. Sites
are counted from 0. Site 0 is the input, site 1 the target. The encoder reads x_p, the concatenation of some sites, and
the decoder writes x_r, the concatenation of the same or other sites.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import count, takewhile
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def reads_and_writes(pair: str, n_sites: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the sites that a dictionary reads, and the sites that it writes, from a source's number of sites.

    An autoencoder reads and writes site 0. A transcoder reads site 0 and writes site 1. A crosscoder reads and writes
    all sites. ValueError if a transcoder or a crosscoder has only one site, or a transcoder more than two.
    """
    if pair == "sae":
        return (0,), (0,)
    if n_sites < 2:
        raise ValueError(f"pair {pair} needs a source with a target, but this source has only an input")
    if pair == "transcoder" and n_sites > 2:
        raise ValueError(f"pair transcoder reads one site and writes another, but this source has {n_sites} sites")
    if pair == "transcoder":
        return (0,), (1,)
    sites = tuple(range(n_sites))
    return sites, sites


def pair_sites(pair: str, *widths: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the widths of the sites in x_p and in x_r, from the widths of all sites of a source, input first."""
    reads, writes = reads_and_writes(pair, len(widths))
    return tuple(widths[site] for site in reads), tuple(widths[site] for site in writes)


def read_sites(pair: str, n_sites: int, read: Callable[[int], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return x_p and x_r (B x the sum of widths), which are one array if the pair writes the sites that it reads.

    ``read`` returns a site (B x its width). It is called once for each site of the pair.
    """
    reads, writes = reads_and_writes(pair, n_sites)
    sites = {site: read(site) for site in sorted({*reads, *writes})}

    def beside(used: tuple[int, ...]) -> np.ndarray:
        return sites[used[0]] if len(used) == 1 else np.concatenate([sites[site] for site in used], axis=1)

    x_p = beside(reads)
    return x_p, x_p if writes == reads else beside(writes)


def make_pair(pair: str, *sites: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x_p and x_r of B samples from their sites (each B x its width)."""
    return read_sites(pair, len(sites), sites.__getitem__)


def make_direction_pair(pair: str, *directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit directions in x_p and x_r of k features, from their unit directions at each site (k x width).

    For a crosscoder, directions are concatenated and renormalised. A feature that does not occur at a site is zero
    there; ValueError if a feature is zero at every site that the pair reads or writes.
    """
    p, r = make_pair(pair, *directions)
    norm_p, norm_r = (np.linalg.norm(rows, axis=1, keepdims=True) for rows in (p, r))
    for norms in (norm_p, norm_r):
        if not norms.all():
            feature = int(np.argmin(norms))
            raise ValueError(f"feature {feature} is zero at every site that pair {pair} reads or writes; leave it out")
    return p / norm_p, r / norm_r


def site_column(site: int) -> str:
    """Return the name of a site's column in stores."""
    return ("input", "target")[site] if site < 2 else f"site{site}"


def site_columns(n_sites: int) -> tuple[str, ...]:
    """Return the names of the columns of this many sites."""
    return tuple(site_column(site) for site in range(n_sites))


def is_site(column: str) -> bool:
    """Return whether a column of a store is a site."""
    return column in ("input", "target") or (column.startswith("site") and column[4:].isdigit())


def in_order(columns: Mapping[str, T]) -> list[T]:
    """Return the entries of sites from a mapping by column, in the order of sites."""
    return [columns[name] for name in site_columns(sum(map(is_site, columns)))]


def site_tensors(prefix: str, sites: Iterable[T]) -> dict[str, T]:
    """Name an array for each site as in files: PREFIXp, PREFIXr, PREFIXsite2, and so on."""
    return {_tensor(prefix, site): values for site, values in enumerate(sites)}


def sites_in(tensors: Mapping[str, T], prefix: str) -> list[T]:
    """Return the arrays that `site_tensors` named, in the order of sites."""
    names = takewhile(tensors.__contains__, (_tensor(prefix, site) for site in count()))
    return [tensors[name] for name in names]


def _tensor(prefix: str, site: int) -> str:
    return prefix + ("pr"[site] if site < 2 else site_column(site))
