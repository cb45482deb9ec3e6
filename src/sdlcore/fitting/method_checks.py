"""`check_method`: check a registered method against everything that trains, saves and exports it."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdlcore.config import Config, selects
from sdlcore.dictionary.load import export, load
from sdlcore.errors import RefusedError
from sdlcore.fitting.fit import fit
from sdlcore.interop.formats import FILES, READ
from sdlcore.model.activation import Encoder
from sdlcore.model.coder import SparseCoder
from sdlcore.model.losses.term import TermInputs
from sdlcore.model.losses.total import needs_norms, scales_of, total_loss

N_Q, K = 12, 3
BATCHES = ("random", "ties", "nothing positive", "all positive", "one sample", "all latents")
"""Kinds of pre-activations that the definition is compared at. In the last one, k is n_q."""
TOLERANCE = 1e-4
"""Absolute and relative difference of sums in another order: a hundredth of the bound of 100 products below 10 in
float32 (Higham 2002, section 3.1), since independent errors do not add up."""
ROWS = 1, 4, 17
"""Numbers of samples to encode. Up to `sdlcore.model.coder.FEW`, the definition encodes them; beyond, the search."""
TRAINING = {"steps": 20, "batch_size": 64, "log_every": 5, "checkpoint_every": 5, "progress": False}


class _StopError(Exception):
    """Raised by a callback to interrupt a training."""


def check_method(name: str, **settings: Any) -> dict[str, str]:
    """Check a registered activation, as scikit-learn's ``check_estimator`` checks an estimator.

    A test of a plugin calls this function. These checks run, in this order:

    - definition: the search with ``values`` (or ``encode_at``) gives the latents, reconstruction and gradients of
      ``forward`` (or ``encode``), for batches with ties, without positive pre-activations, of one sample, and others;
    - encoding: `SparseCoder.encode` and `encode_csr` return the latents of the definition for 1, 4 and 17 samples;
    - training: `fit` trains the method; losses are finite, and the encoder changes;
    - saving: a saved dictionary is loaded with the same bits;
    - resuming: an interrupted training ends with the same bits as an uninterrupted one;
    - export: each format of another library gives the reconstructions of the dictionary, or refuses it.

    Parameters
    ----------
    name
        Name of a built-in activation, or of a plugin's, whose module must be imported.
    **settings
        Settings that the method needs, as in `fit`, such as ``l1``. By default ``n_q`` is 12, and ``k`` is 3 if the
        method keeps k latents.

    Returns
    -------
    Check -> result: "passed", or why a format refuses the method.

    Raises
    ------
    AssertionError
        Naming the first check that failed, and what differs.
    ValueError
        If the settings are invalid, or a method returns tensors of a wrong shape or type.
    """
    method = {"activation": name, "n_q": N_Q, "bias": True} | ({"k": K} if selects(name) else {}) | settings
    config = Config.from_dict(method)
    _check_definition(config)
    _check_encoding(config)
    x = np.random.default_rng(0).standard_normal((512, 8)).astype(np.float32)
    with TemporaryDirectory() as folder:
        exports = _check_trained(x, method, Path(folder))
    return dict.fromkeys(("definition", "encoding", "training", "saving", "resuming"), "passed") | exports


def preactivations(batch: str, rows: int = 8, n_q: int = N_Q) -> Tensor:
    """Return the pre-activations of one of `BATCHES` (B x n_q)."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1 if batch == "one sample" else rows, n_q, generator=generator)
    if batch == "ties":
        return torch.randint(-2, 4, z.shape, generator=generator).float()
    return {"nothing positive": -1 - z.abs(), "all positive": 0.5 + z.abs()}.get(batch, z)


def example_model(config: Config, batch: str, rows: int = 8) -> tuple[SparseCoder, Tensor, Tensor]:
    """Return a model in training, samples that give the pre-activations of a batch, and targets.

    The samples are unit vectors, so each pre-activation equals a weight to the bit. Two ways to compute it then see the
    same numbers, and ties are ties.
    """
    z = preactivations(batch, rows, config.n_q)
    x, generator = torch.eye(len(z)), torch.Generator().manual_seed(1)
    model = SparseCoder.from_config(config.model, (len(z),), (len(z),), generator).train()
    with torch.no_grad():
        model.W_enc.copy_(z.T)
        for parameter in model.sigma.parameters():
            parameter.add_(0.2 * torch.rand(parameter.shape, generator=generator))
    if config.decoder_norm == "unit":
        model.constrain()
    return model, x, torch.randn(x.shape, generator=generator)


def without_search(model: SparseCoder) -> SparseCoder:
    """Return the same model with an activation that declares no search."""
    model = copy.deepcopy(model)
    model.sigma.search = lambda: None  # type: ignore[method-assign]
    return model


def forward_and_backward(
    model: SparseCoder, x: Tensor, target: Tensor, config: Config, kernels: Any = None
) -> dict[str, Tensor]:
    """Return latents, reconstruction, buffers, and the gradients of the loss with all terms of the settings."""
    out = model(x, scales_of(config, model), norms=needs_norms(config), kernels=kernels)
    total_loss(TermInputs(model, target, out, config))["loss"].backward()
    gradients = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}
    return {"latents": out.latents().detach(), "x_hat": out.x_hat.detach(), **gradients, **dict(model.named_buffers())}


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor], where: str = "") -> None:
    """Raise AssertionError, naming the tensor, unless two passes agree up to `TOLERANCE`."""
    assert actual.keys() == expected.keys(), f"{where}: {sorted(actual)} instead of {sorted(expected)}"
    for name, value in expected.items():

        def message(text: str, name: str = name) -> str:
            return f"{where}: {name} of the search differs from the definition. {text}"

        torch.testing.assert_close(actual[name], value, rtol=TOLERANCE, atol=TOLERANCE, msg=message)


def _modes(config: Config, batch: str, rows: int = 8) -> Iterator[tuple[SparseCoder, Tensor, Tensor, str]]:
    """Yield the case in training and in evaluation mode, with its name for errors."""
    for training in (True, False):
        model, x, target = example_model(config, batch, rows)
        with torch.no_grad():
            model(x)  # some activations learn a threshold from batches
        where = f"activation {config.activation}, batch {batch}, {'training' if training else 'evaluation'} mode"
        yield model.train(training), x, target, where


def _check_definition(config: Config) -> None:
    for batch in BATCHES:
        of_batch = config.changed(k=config.n_q) if batch == "all latents" and config.k is not None else config
        for model, x, target, where in _modes(of_batch, batch):
            if batch == "ties" and isinstance(model.sigma, Encoder):
                continue  # of equal products with a residual, rounding decides
            expected = forward_and_backward(without_search(model), x, target, of_batch)
            actual = forward_and_backward(model, x, target, of_batch)
            if not model.training:  # a search may omit entries that only the gradient of a threshold needs
                actual, expected = ({name: each[name] for name in ("latents", "x_hat")} for each in (actual, expected))
            assert_close(actual, expected, f"definition: {where}")


@torch.no_grad()
def _check_encoding(config: Config) -> None:
    for model, x, _, where in _modes(config, "random", max(ROWS)):
        for rows in ROWS:
            first, second, third = (copy.deepcopy(model) for _ in range(3))  # a pass may change thresholds
            expected, actual = without_search(first)(x[:rows]).latents(), second.encode(x[:rows])
            assert_close({"latents": actual}, {"latents": expected}, f"encoding: {where}, {rows} samples")
            matrix = third.encode_csr(x[:rows])
            assert matrix.nnz == int((actual != 0).sum()), f"encoding: {where}: encode_csr differs from encode"


def _check_trained(x: np.ndarray, method: dict[str, Any], folder: Path) -> dict[str, str]:
    """Check training, saving and resuming; return the results of exports."""
    name, how = method["activation"], TRAINING | method
    trained = fit(x, **how)
    weights = trained.coder.state_dict()
    untrained = fit(x, **how | {"steps": 1, "lr": 1e-30}).coder.state_dict()
    assert all(np.isfinite(row["loss"]) for row in trained.history), f"training: {name}: a loss is not finite"
    assert not torch.equal(weights["W_enc"], untrained["W_enc"]), f"training: {name}: the encoder does not change"

    def equal(other: dict[str, Tensor]) -> bool:
        return all(torch.equal(other[key], value) for key, value in weights.items())

    trained.save(folder / "saved")
    assert equal(load(folder / "saved").coder.state_dict()), f"saving: {name}: loaded weights differ"

    def interrupt(row: dict[str, float]) -> None:
        if row["step"] == 10:
            raise _StopError

    with suppress(_StopError):
        fit(x, out=folder / "resumed", callbacks=[interrupt], **how)
    resumed = fit(x, out=folder / "resumed", **how)
    assert equal(resumed.coder.state_dict()), f"resuming: {name}: an interrupted training ends with other weights"

    results, expected = {}, trained.reconstruct(x)
    for library in FILES:
        try:
            export(trained, library, folder / library)
        except RefusedError as error:
            results[f"export to {library}"] = f"refused: {error}"
            continue
        if library in READ:
            difference = np.abs(load(folder / library, format=library).reconstruct(x) - expected).max()
            largest = np.abs(expected).max()
            assert difference <= TOLERANCE * (1 + largest), f"export to {library}: {name}: off by {difference:.2g}"
        results[f"export to {library}"] = "passed"
    return results
