import numpy as np
import pytest
import torch

from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import coefficients, feature_matrix, synthesise
from sdlcore.config import Config
from sdlcore.errors import DivergedError
from sdlcore.model.coder import SparseCoder
from sdlcore.model.scaling import no_scaling
from sdlcore.random_streams import stream, torch_stream
from sdlcore.training.loop import Checkpointing, train
from tests.int8 import with_int8

D, N = 16, 20
W = feature_matrix(D, N, stream(0, "W"), 0.4).W
X = synthesise(coefficients(4096, N, BenchSamples(sparsity=0.9), stream(0, "x")), W)
METHODS = {
    "relu": {"activation": "relu", "l1": 0.3, "bias": True, "resample_every": 20, "dead_after": 600},
    "jumprelu": {"activation": "jumprelu", "l0": 0.02, "bandwidth": 0.3},
    "topk": {"activation": "topk", "k": 4},
    "batchtopk": {"activation": "batchtopk", "k": 4, "resample_every": 20, "dead_after": 600},
    "relu_held": {"activation": "relu", "l1": 0.1, "bias": True, "init_l0": 8, "target_l0": 6},
    "jumprelu_held": {"activation": "jumprelu", "l0": 0.01, "bandwidth": 1.5, "init_l0": 8, "target_l0": 6},
    "gated": {"activation": "gated", "l1": 0.1, "bias": True, "init_l0": 8, "target_l0": 6},
    "prefixes": {"activation": "batchtopk", "k": 4, "prefixes": [16, 64]},
    "aux": {"activation": "topk", "k": 1, "n_q": 512, "lambda_aux": 0.03, "k_aux": 8, "dead_after": 600},
    "accumulated": {"activation": "topk", "k": 4, "accumulate": 4, "bias": True},
    "bfloat16": {"activation": "topk", "k": 4, "precision": "bfloat16"},
    "tied": {"activation": "topk", "k": 4, "tied": True, "weight_decay": 0.01, "resample_every": 20, "dead_after": 600},
    "frozen": {"activation": "topk", "k": 4, "frozen": "decoder", "initialisation": "tied", "init_scale": 1},
    "int8": {"activation": "batchtopk", "k": 4, "precision": "int8"},
    "multi_k": {"activation": "topk", "k": 4, "multi_k": [2, 4], "decoder_norm": "unit"},
    "abstopk": {"activation": "abstopk", "k": 3, "n_q": 512, "lambda_aux": 0.03, "k_aux": 8, "dead_after": 600},
    "lista": {"activation": "lista", "k": 4, "prefixes": [16, 64], "lambda_aux": 0.03, "k_aux": 8, "dead_after": 600},
    "lista_scales": {"activation": "lista", "k": 4, "multi_k": [2, 4]},
    "pursuit": {"activation": "matching_pursuit", "k": 4, "tied": True, "decoder_norm": "unit", "bias": True},
    "annealed": {"activation": "relu", "l1": 0.1, "bias": True, "l1_exponent_end": 0.3, "l1_anneal_start": 0.2},
    "reordered": {
        **{"activation": "batchtopk", "k": 1, "n_q": 512, "prefixes": [64, 512], "prefix_detached": True},
        **{"reorder_every": 25, "lambda_aux": 0.03, "k_aux": 8, "dead_after": 600},
    },
    "quadratic": {"activation": "jumprelu", "l0": 1.0, "l0_form": "quadratic", "target_l0": 4, "frequency": 0.1},
    "hierarchical": {"activation": "topk", "k": 4, "hierarchical": True},
    "contrast": {"activation": "batchtopk", "k": 4, "prefixes": [16, 64], "contrast": 0.3, "accumulate": 2},
}


def batches(step):
    rows = stream(5, "batch", step).integers(len(X), size=128)
    return X[rows], X[rows]


def run(settings, checkpointing=None, batches=batches, **kwargs):
    config = Config.from_dict({"n_q": 64, "steps": 90, "batch_size": 128, "lr": 3e-3, "log_every": 10, **settings})
    model = SparseCoder.from_config(config.model, (D,), (D,), torch_stream(1, "initialisation"))
    generator = torch_stream(1, "resampling")
    return model, train(model, batches, config, generator, no_scaling(D, D), checkpointing=checkpointing, **kwargs)


def same_bits(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


class Stop(Exception):
    pass


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


@pytest.mark.parametrize("method", with_int8(METHODS))
@pytest.mark.parametrize("stop", [31, *(pytest.param(step, marks=pytest.mark.slow) for step in (60, 89))])
def test_the_loss_falls_and_a_stopped_training_goes_on_to_the_same_bits(tmp_path, method, stop):
    settings = {**METHODS[method], "checkpoint_every": 30}
    whole, expected = run(settings)
    assert [row["step"] for row in expected] == list(range(10, 100, 10))
    assert expected[-1]["samples"] == 90 * 128
    assert expected[-1]["fvu"] < 0.7 * expected[0]["fvu"]
    assert all(0 <= row["dead_fraction"] <= 1 and row["seconds"] > 0 for row in expected)

    def stopping(step):
        if step == stop:
            raise Stop
        return batches(step)

    place = Checkpointing(tmp_path / "checkpoint.safetensors")
    with pytest.raises(Stop):
        run(settings, place, stopping)
    steps = []

    def watching(step):
        steps.append(step)
        return batches(step)

    resumed, history = run(settings, place, watching)
    assert steps[0] == stop // 30 * 30, "training resumes from the last checkpoint"
    assert same_bits(whole, resumed)
    assert without_seconds(history) == without_seconds(expected)


def test_an_interruption_between_two_rows_keeps_the_means_of_the_next(tmp_path, monkeypatch):
    settings, place = METHODS["topk"], Checkpointing(tmp_path / "checkpoint.safetensors")
    _, expected = run(settings)
    calls = iter(range(1, 90))
    monkeypatch.setattr("sdlcore.training.interruption.Interruption.ends", lambda self: next(calls, None) == 35)
    with pytest.raises(KeyboardInterrupt, match="interrupted after step 35 of 90"):
        run(settings, place)
    _, history = run(settings, place)
    assert without_seconds(history) == without_seconds(expected)


def test_resampling_happens_and_is_counted():
    settings = {
        "activation": "topk",
        "k": 1,
        "n_q": 512,
        "resample_every": 20,
        "dead_after": 600,
        "resample_until": 0.5,
    }
    _, history = run(settings)
    resampled = {row["step"]: row["resampled"] for row in history}
    assert sum(resampled.values()) > 0
    assert all(count == 0 for step, count in resampled.items() if step % 20 or step > 45)


@pytest.mark.parametrize("method", ["topk", "batchtopk", "abstopk", "lista_scales", "pursuit"])
def test_k_follows_its_schedule_and_the_history_shows_it(method):
    last = METHODS[method]["k"]
    model, rows = run({**METHODS[method], "k_start": 20, "k_decay": 0.5, "resample_every": None})
    assert rows[0]["k"] > 10
    assert rows[-1]["k"] == model.sigma.k == last
    assert rows[0]["l0"] > 2 * last
    assert rows[-1]["l0"] <= last


def test_a_training_that_stops_early_has_the_k_of_its_settings():
    model, (row,) = run({**METHODS["lista_scales"], "k_start": 20, "k_decay": 1}, callbacks=[lambda row: True])
    assert row["k"] > 4
    assert model.sigma.k == 4


def test_batchtopks_saved_threshold_keeps_k_latents_on_average():
    model, _ = run({**METHODS["batchtopk"], "steps": 250, "n_q": 128, "resample_every": None})
    with torch.no_grad():
        active = (model.eval().encode(torch.from_numpy(X)) > 0).sum(1).float().mean().item()
    assert active == pytest.approx(4, rel=0.05)


def nan_from_step_25(step):
    x = np.full((128, D), np.nan if step >= 25 else 1.0, dtype=np.float32)
    return x, x


def silent_until_nan_at_step_19(step):
    silent = np.zeros((128, D), dtype=np.float32)  # no latent fires, so all are dead
    return silent, np.full_like(silent, np.nan if step >= 19 else 1.0)


@pytest.mark.parametrize(
    ("settings", "batches", "message"),
    [
        (
            METHODS["topk"],
            nan_from_step_25,
            r"in steps 21 to 30: loss is nan.*Lower lr from 0\.003.*Last good checkpoint: none yet",
        ),
        (
            {**METHODS["relu"], "dead_after": 100, "log_every": 30},
            silent_until_nan_at_step_19,
            "in steps 1 to 20: the loss of samples to resample from is not finite",
        ),
    ],
)
def test_divergence_is_reported_with_its_steps_and_a_remedy(settings, batches, message):
    with pytest.raises(DivergedError, match=message):
        run(settings, batches=batches)


def test_divergence_names_the_last_good_checkpoint(tmp_path):
    def broken(step):
        x, _ = batches(step)
        # only the input: no latent is active then, so the loss stays finite
        return (x, x) if step < 65 else (np.full_like(x, np.inf), x)

    place = Checkpointing(tmp_path / "checkpoint.safetensors")
    with pytest.raises(
        DivergedError, match=r"in steps 61 to 70: input_norm is inf.*of step 60 in .*checkpoint\.safetensors"
    ):
        run({**METHODS["topk"], "checkpoint_every": 30}, place, broken)
    _, history = run({**METHODS["topk"], "checkpoint_every": 30}, place)
    assert history[-1]["step"] == 90, "the training can resume there with sound data"


@pytest.mark.parametrize("method", ["topk", "relu"])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(method):
    settings = {k: v for k, v in METHODS[method].items() if not k.startswith("resample")}
    whole, (whole_row,) = run({**settings, "steps": 3})
    parts, (parts_row,) = run({**settings, "steps": 3, "accumulate": 4})
    torch.testing.assert_close(whole.W_dec, parts.W_dec, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(whole.W_enc, parts.W_enc, rtol=1e-4, atol=1e-6)
    # Adam's steps do not show the length of a gradient
    assert parts_row["gradient_norm"] == pytest.approx(whole_row["gradient_norm"], rel=1e-4)


@pytest.mark.parametrize(
    "method", ["relu_held", *(pytest.param(name, marks=pytest.mark.slow) for name in ("jumprelu_held", "gated"))]
)
def test_training_holds_the_target_l0(method):
    _, history = run({**METHODS[method], "steps": 600, "l0_gain": 0.05})
    assert history[-1]["l0"] == pytest.approx(6, rel=0.15)


def test_watching_sees_the_rows_as_they_are_saved_and_changes_nothing():
    snapshots = []

    def watch(weights):
        snapshots.append({side: W.clone() for side, W in weights.items()})
        return {"told": float(len(snapshots))}

    alone, _ = run(METHODS["topk"])
    model, history = run(METHODS["topk"], watch=watch)
    assert same_bits(alone, model)
    assert [row["told"] for row in history] == [*range(1, 10)]
    assert torch.equal(snapshots[-1]["encoder"], model.W_enc)
    assert torch.equal(snapshots[-1]["decoder"], model.W_dec)
