"""Run by the interpreter that has overcomplete, of RA-SAE's authors: compare decoders of archetypes on equal weights.

    python tests/peers/archetypes.py

Prints JSON: for three values of delta the norms of both dictionaries after their constraints, and the largest
difference of decoder rows, reconstructions and gradients ("latents", as in the other scripts).
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch

from sdlcore.model.archetypes import Archetypes
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.support import full_support

N, N_Q, CENTROIDS, SAMPLES = 12, 40, 9, 7


def of_authors() -> Any:
    """Return overcomplete's class from its file, since importing the whole package needs its vision models."""
    package = importlib.util.find_spec("overcomplete")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "sae/archetypal_dictionary.py"
    spec = importlib.util.spec_from_file_location("archetypal_dictionary", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.RelaxedArchetypalDictionary


def compare(delta: float) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    centroids, weights, relaxation = (
        torch.randn(shape, generator=generator) for shape in ((CENTROIDS, N), (N_Q, CENTROIDS), (N_Q, N))
    )
    ours = Archetypes(centroids, N_Q, delta)
    # they multiply the whole dictionary by a trained scalar unless told otherwise, ours leaves the scale to the encoder
    theirs = of_authors()(N, N_Q, centroids, delta=delta, use_multiplier=False)
    with torch.no_grad():
        for into, values in ((ours.weights, weights), (theirs.W, weights), (ours.relaxation, relaxation)):
            into.copy_(values)
        theirs.Relax.copy_(relaxation)
    ours.constrain()
    codes, coefficients = (torch.randn(shape, generator=generator) for shape in ((SAMPLES, N_Q), (SAMPLES, N)))
    support = full_support(SAMPLES, N_Q, kernels_for(codes.device), codes.device)
    outputs = ours.decode_at(codes.flatten(), support, 1, False).squeeze(1), codes @ theirs.get_dictionary()
    for each in outputs:
        (each * coefficients).sum().backward()
    rows, expected = ours(), theirs.get_dictionary()
    pairs = (
        *((rows, expected), outputs),
        *((ours.weights.grad, theirs.W.grad), (ours.relaxation.grad, theirs.Relax.grad)),
    )
    return {
        "ours": float(rows.detach().norm()),
        "theirs": float(expected.detach().norm()),
        "latents": max(float((one - other).detach().abs().max()) for one, other in pairs),
    }


if __name__ == "__main__":
    print(json.dumps({f"delta {delta}": compare(delta) for delta in (0.1, 1.0, 100.0)}))
