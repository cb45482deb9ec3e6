"""Sparse dictionary learning (SDL) for mechanistic interpretability, as one optimisation problem.

Every method is a choice of a pair (x_p, x_r), a sparsity-inducing sigma and loss terms in

    x_q = sigma(W_E x_p + b_E),   x_r_hat = W_D x_q + b_D,   L = E || x_r - x_r_hat ||^2 + penalties

(Definition 2.5 of arXiv 2512.05534). `__init__.pyi` lists the public names; each is imported at its first use.
"""

import os

import lazy_loader

from sdlcore.version import __version__ as __version__

# Waiting OpenMP threads sleep instead of spinning. Spinning makes training on a busy machine ten times slower or worse.
# OpenMP reads the variable when torch is loaded, so it is set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
