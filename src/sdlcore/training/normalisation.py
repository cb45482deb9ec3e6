"""Centring and scaling of activations for training, and its removal from the trained weights."""

from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.activations.reader import Readable
from sdlcore.model import SparseCoder


class Normalisation(NamedTuple):
    """x -> (x - mean) * scale, by dimension; a site's scale is one number, repeated."""

    mean_p: Tensor
    scale_p: Tensor
    mean_r: Tensor
    scale_r: Tensor

    def to(self, device: torch.device) -> "Normalisation":
        return Normalisation(*(value.to(device) for value in self))

    def __call__(self, x_p: Tensor, x_r: Tensor) -> tuple[Tensor, Tensor]:
        normalised_p = (x_p - self.mean_p) * self.scale_p
        return normalised_p, normalised_p if x_r is x_p else (x_r - self.mean_r) * self.scale_r

    def directions(self, w_p: Tensor, w_r: Tensor) -> tuple[Tensor, Tensor]:
        """Return the unit directions that encoder and decoder rows (k x n_p, k x n_r) must have in normalised units,
        so that `fold` turns them into the directions ``w_p`` and ``w_r`` of raw activations.

        They differ where sites have different scales.
        """
        return (
            torch.nn.functional.normalize(w_p / self.scale_p),
            torch.nn.functional.normalize(w_r * self.scale_r),
        )

    def raw_rows(self, model: SparseCoder) -> dict[str, Tensor]:
        """Return the rows of a model's encoder and decoder as `fold` would leave them."""
        return {"encoder": model.W_enc * self.scale_p, "decoder": model.W_dec / self.scale_r}


def identity(n_p: int, n_r: int) -> Normalisation:
    """Return the normalisation that changes nothing."""
    return Normalisation(torch.zeros(n_p), torch.ones(n_p), torch.zeros(n_r), torch.ones(n_r))


def fit(store: Readable, pair: str, rows_at_once: int = 8192) -> Normalisation:
    """Return the normalisation that gives every site of a pair zero mean and a mean norm of sqrt(dimension)."""
    sites = {}
    columns = {"sae": ["input"], "transcoder": ["input", "target"], "crosscoder": ["input", "target"]}[pair]
    for column in columns:
        starts = range(0, store.rows, rows_at_once)
        total = sum(_read(store, column, s, rows_at_once).sum(0) for s in starts)
        mean = torch.as_tensor(total / store.rows)
        norms = sum(float((_read(store, column, s, rows_at_once) - mean).norm(dim=1).sum()) for s in starts)
        scale = len(mean) ** 0.5 * store.rows / norms if norms else 1.0
        sites[column] = (mean.float(), torch.full((len(mean),), scale, dtype=torch.float32))
    if pair == "crosscoder":
        mean, scale = (torch.cat([sites[column][i] for column in columns]) for i in (0, 1))
        return Normalisation(mean, scale, mean, scale)
    return Normalisation(*sites[columns[0]], *sites[columns[-1]])


def _read(store: Readable, column: str, start: int, rows: int) -> Tensor:
    return torch.from_numpy(store.read(column, start, start + rows)).double()


@torch.no_grad()
def fold(model: SparseCoder, normalisation: Normalisation) -> None:
    """Change ``model``, trained on normalised activations, into the one that does the same to raw activations.

    Latents stay as they are; reconstructions come out in raw units.
    """
    mean_p, scale_p, mean_r, scale_r = normalisation
    model.W_enc.mul_(scale_p)
    model.b_enc.sub_(model.W_enc @ mean_p)
    model.W_dec.div_(scale_r)
    model.b_dec.div_(scale_r).add_(mean_r)
    if model.config.skip:
        model.W_skip.mul_(scale_p[:, None]).div_(scale_r)
        model.b_dec.sub_(mean_p @ model.W_skip)
