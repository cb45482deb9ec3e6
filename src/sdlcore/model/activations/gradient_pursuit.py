"""Gradient pursuit on known decoder rows: orthogonal matching pursuit with a gradient step instead of least squares."""

import torch
from torch import Tensor

from sdlcore.model.activations.omp import OMP


class GradientPursuit(OMP):
    """k steps of gradient pursuit (Blumensath and Davies 2008), for latents that are never negative.

    Latents are chosen as by `OMP`. The codes of the chosen latents then move along their products with the residual, by
    the step that lowers the error most. Negative codes become zero.
    """

    by_gradient = True

    @staticmethod
    def update(codes: Tensor, products: Tensor, residual: Tensor, inner: Tensor) -> Tensor:
        active = codes > 0
        active[:, -1] = residual[:, -1] > 0
        slope = torch.where(active, residual, 0.0)
        curvature = (slope * (inner @ slope[:, :, None]).squeeze(2)).sum(1)
        step = slope.square().sum(1) / curvature.clamp(min=torch.finfo(slope.dtype).tiny)
        return (codes + step[:, None] * slope).clamp(min=0)


ACTIVATION = GradientPursuit
