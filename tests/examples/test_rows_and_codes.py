"""The experiment on rows and codes: its codes against plain references, and its page against its tables."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from examples.rows_and_codes import codes, page
from sdlstudy.results.tables import read_csv
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "docs/results/posterior"


@pytest.fixture(scope="module")
def dictionary() -> sdl.Dictionary:
    x = np.random.default_rng(0).normal(size=(256, 12)).astype(np.float32)
    return sdl.fit(x, activation="batchtopk", k=3, n_q=24, steps=20, batch_size=64, progress=False)


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(200, 12, generator=torch.Generator().manual_seed(1))


def pursue(rows: np.ndarray, x: np.ndarray, threshold: float, most: int) -> np.ndarray:
    """Orthogonal matching pursuit of one sample, without latents below zero."""
    active: list[int] = []
    result = np.zeros(len(rows))
    for _ in range(most):
        products = rows @ (x - result @ rows)
        products[active] = 0
        if products.max() <= threshold:
            break
        active.append(int(products.argmax()))
        while True:
            system = rows[active] @ rows[active].T + 1e-6 * np.eye(len(active))
            solved = np.linalg.solve(system, rows[active] @ x)
            if not (solved < 0).any():
                break
            active = [latent for latent, value in zip(active, solved, strict=True) if value >= 0]
        result = np.zeros(len(rows))
        result[active] = solved
    return result


@pytest.mark.parametrize("threshold", [0.3, 0.8, 100.0])
def test_pursuit_with_a_threshold_equals_a_plain_one(dictionary, x, threshold):
    rows, b_dec = codes.unit(dictionary)
    found = codes.ThresholdedPursuit(rows, b_dec, threshold, 8).encode(x)
    centred = (x - b_dec).double().numpy()
    expected = [pursue(rows.double().numpy(), sample, threshold, 8) for sample in centred]
    # float32 solutions of systems of at most 8 rows, some of them nearly dependent
    np.testing.assert_allclose(found.numpy(), np.array(expected), rtol=1e-4, atol=1e-4)


def test_codes_have_the_requested_l0(dictionary, x):
    for l0 in (1.5, 2.5):
        by_pursuit = codes.mean_l0(codes.pursuit_at(dictionary, x, l0), x)
        by_encoder = codes.mean_l0(codes.Coded.from_dictionary(codes.batchtopk_at(dictionary, x, l0)), x)
        assert by_pursuit == pytest.approx(l0, abs=0.02)
        assert by_encoder == pytest.approx(l0, abs=0.02)


def test_codes_by_least_squares_on_true_supports(x):
    rows = torch.nn.functional.normalize(torch.randn(24, 12, generator=torch.Generator().manual_seed(2)))
    truth = torch.zeros(200, 24)
    truth.scatter_(1, torch.randint(0, 24, (200, 3), generator=torch.Generator().manual_seed(3)), 2.0)
    found = codes.least_squares_on(rows, truth @ rows, truth > 0)
    np.testing.assert_allclose(found, truth, atol=1e-4)


def test_the_tables_of_the_page_are_those_of_the_runs():
    text = (FOLDER / "README.md").read_text()
    for begins, table in page.tables(FOLDER).items():
        assert f"{begins}\n{table}\n" in text


def test_the_predictions_are_judged():
    runs, predictions = read_csv(FOLDER / "rows_and_codes.csv"), read_csv(FOLDER / "predictions.csv")
    judged, stored = page.outcomes(runs, predictions), read_csv(FOLDER / "outcomes.csv")
    assert list(judged["outcome"]) == list(stored["outcome"])
    np.testing.assert_allclose(judged["mean"], stored["mean"], atol=1e-9)
