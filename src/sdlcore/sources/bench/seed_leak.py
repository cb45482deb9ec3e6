"""Plant a mistake on purpose: draw features and model from equal states of one generator.

Whoever seeds the generator before the features are drawn, and again before the model is made, gives the first n latents
the features to start at. Whether the paper did cannot be known; what it does to recovery can (docs/verdicts.md).
"""

import numpy as np
import torch

from sdlcore.random_streams import torch_stream


def leaked_start(dimension: int, n: int, seed: int) -> np.ndarray:
    """Return the start of a feature matrix (dimension x n, not normalised) out of the stream that models start from.

    Column i is what latent i is drawn as where initialisation is tied (normal), and correlates with it where it is
    linear (uniform).
    """
    return torch.randn(n, dimension, generator=torch_stream(seed, "initialisation")).T.double().numpy()
