import copy
import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

import sdlcore as sdl
from sdlcore.dictionary import samples

QUIET = {"progress": False, "device": "cpu"}
TOPK = {"activation": "topk", "k": 3, "n_q": 24, "batch_size": 64, "steps": 20, "log_every": 10}


@pytest.fixture(scope="module")
def bench():
    return sdl.Bench.draw(seed=0, n=12, n_p=8, n_r=6, sparsity=0.85, max_interference=0.5)


@pytest.fixture(scope="module")
def both(bench):
    return bench.sample(1000)


@pytest.fixture(scope="module")
def sae(both):
    return sdl.fit(both[0], **TOPK, **QUIET)


def test_latents_and_reconstructions_are_those_of_plain_numpy(sae, both):
    x = both[0][:50]
    pre = x @ sae.W_enc.numpy().T + sae.b_enc.numpy()
    largest = np.argsort(-pre, axis=1)[:, :3]
    expected = np.zeros_like(pre)
    np.put_along_axis(expected, largest, np.maximum(np.take_along_axis(pre, largest, 1), 0), 1)
    latents = sae.encode(x)
    assert np.allclose(latents, expected, atol=1e-5)
    assert np.allclose(sae.decode(latents), expected @ sae.W_dec.numpy() + sae.b_dec.numpy(), atol=1e-5)
    assert np.allclose(sae.reconstruct(x), sae.decode(latents), atol=1e-5)


def test_an_array_gives_an_array_and_a_tensor_a_tensor_with_gradients(sae, both):
    x = torch.from_numpy(both[0][:5]).requires_grad_()
    out = sae.reconstruct(x)
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert isinstance(sae.encode(both[0][:5]), np.ndarray)
    assert np.allclose(sae.encode(both[0][:5]), sae.encode(x).detach().numpy(), atol=1e-6)


def test_no_samples_give_no_latents(sae):
    assert sae.encode(np.zeros((0, 8), dtype=np.float32)).shape == (0, 24)


def test_a_crosscoder_takes_its_sites_as_a_list_or_one_beside_the_other_in_a_file_too(both, tmp_path):
    dictionary = sdl.fit(list(both), **TOPK, **QUIET)
    together = np.concatenate(both, axis=1)
    assert np.array_equal(dictionary.encode(list(both)), dictionary.encode(together))
    np.save(tmp_path / "x.npy", together)
    assert np.array_equal(dictionary.encode(tmp_path / "x.npy"), dictionary.encode(together))
    assert dictionary.reconstruct(list(both)).shape == (1000, 14)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 5)), "expected 8 numbers in the last dimension, found 3 x 5"),
        ([np.ones((3, 8)), np.ones((2, 6))], r"x\[1\] has 2 rows, but x\[0\] has 3"),
        (np.array(1.0), "expected 8 numbers in the last dimension, found 1"),
        ([], "x is a list, expected an array"),
    ],
)
def test_samples_of_another_shape_are_refused(x, message, sae, both):
    model = sdl.fit(list(both), **TOPK | {"steps": 1}, **QUIET) if isinstance(x, list) else sae
    with pytest.raises(ValueError, match=message):
        model.encode(x)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy, lambda x: torch.from_numpy(x).float()])
def test_samples_that_are_not_finite_are_refused_by_their_row(sae, value, convert, monkeypatch):
    monkeypatch.setattr(samples, "ROWS_AT_ONCE", 2)
    x = np.zeros((5, 8))
    x[3, 1] = value
    message = "row 3 contains NaN, infinity or a number too large for float32; leave such rows out"
    if convert is np.asarray:
        message = f"x contains {'numbers too large for float32' if value == 1e300 else 'NaN or infinity'} in row 3"
    for call in (sae.encode, sae.reconstruct):
        with pytest.raises(ValueError, match=message):
            call(convert(x))


@pytest.mark.parametrize("leading", [(), (1,), (6,), (2, 3), (2, 1, 3), (0, 4), (2, 0)])
@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_any_leading_dimensions_stay(sae, both, leading, convert):
    rows = both[0][: max(1, math.prod(leading))]
    x = convert(rows[: math.prod(leading)].reshape(*leading, 8))
    calls = {"encode": sae.encode, "reconstruct": sae.reconstruct, "call": sae, "decode": sae.decode}
    for name, call in calls.items():
        part = calls["encode"](x) if name == "decode" else x
        output = call(part)
        assert type(output) is type(x)
        assert tuple(output.shape) == (*leading, sae.n_q if name == "encode" else 8)
        expected = call(part.reshape(-1, part.shape[-1])) if math.prod(leading) else output
        assert np.array_equal(np.asarray(output.reshape(expected.shape).tolist()), np.asarray(expected.tolist()))


@pytest.mark.parametrize("method", ["topk", "matching_pursuit", "omp", "posterior"])
def test_a_cpu_refuses_weights_in_half_precision(method, sae, both):
    x, dictionary = both[0], copy.deepcopy(sae)
    if method == "matching_pursuit":
        settings = TOPK | {"activation": method, "tied": True, "decoder_norm": "unit"}
        dictionary = sdl.fit(x, **settings, **QUIET)
    elif method != "topk":
        dictionary = sdl.search(sae, x if method == "posterior" else None, method, progress=False)
    dictionary.to(torch.bfloat16)
    for size in (5, 500):  # without and with the inner products of all latents
        with pytest.raises(ValueError, match=r"weights are torch.bfloat16, but a CPU computes with float32 or float64"):
            dictionary.encode(torch.from_numpy(x[:size]).bfloat16())


def test_leading_dimensions_of_files_and_sites_stay(sae, both, tmp_path):
    np.save(tmp_path / "x.npy", both[0][:6].reshape(2, 3, 8))
    assert np.array_equal(sae.encode(tmp_path / "x.npy"), sae.encode(both[0][:6]).reshape(2, 3, -1))
    crosscoder, sites = sdl.fit(list(both), **TOPK, **QUIET), [torch.from_numpy(site[:6]) for site in both]
    shaped = crosscoder([site.reshape(2, 3, -1) for site in sites])
    assert torch.equal(shaped.reshape(6, -1), crosscoder(sites))
    codes = sae.encode(tmp_path / "x.npy", sparse=True)  # a row for each position of each batch
    assert np.array_equal(codes.toarray(), sae.encode(both[0][:6]))


@pytest.mark.parametrize("name", ["sae.safetensors", "folder"])
def test_what_is_saved_is_loaded(sae, name, tmp_path, both):
    sae.save(tmp_path / name)
    dictionary = sdl.load(tmp_path / name)
    assert all(torch.equal(a, b) for a, b in zip(sae.coder.parameters(), dictionary.coder.parameters(), strict=True))
    assert dictionary.settings["k"] == 3
    assert dictionary.provenance["seed"] == 0
    assert dictionary.history == (sae.history if name == "folder" else [])
    assert np.array_equal(dictionary.encode(both[0][:9]), sae.encode(both[0][:9]))


def test_saving_replaces_the_run_of_a_folder(sae, tmp_path):
    sae.save(tmp_path / "run")
    sdl.Dictionary(sae.coder, {"imported": {}}).save(tmp_path / "run")
    assert sdl.load(tmp_path / "run").history == []
    sae.save(tmp_path / "lr_0.01")
    assert sdl.load(tmp_path / "lr_0.01").history == sae.history


def test_what_could_not_be_loaded_is_not_saved(sae, tmp_path):
    with pytest.raises(ValueError, match=r"foo.pt: expected a folder"):
        sae.save(tmp_path / "foo.pt")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match=r"belongs to another run: stage is missing, here train\. Delete it"):
        sae.save(tmp_path / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    broken = copy.deepcopy(sae)
    broken.coder.W_enc.data[2, 1] = torch.inf
    for name in ("broken", "broken.safetensors"):
        with pytest.raises(ValueError, match=r"broken.*: W_enc\[2, 1\] is inf; train again"):
            broken.save(tmp_path / name)
    assert not list(tmp_path.rglob("*.safetensors"))
    sae.save(tmp_path / "other.safetensors")
    assert torch.equal(sdl.load(tmp_path / "other.safetensors").W_dec, sae.W_dec)
    sae.save(tmp_path / "run")
    sae.save(tmp_path / "run/model.safetensors")
    assert torch.equal(sdl.load(tmp_path / "run").W_dec, sae.W_dec)


@pytest.fixture(scope="module")
def folders(sae, both, tmp_path_factory):
    """A run, a folder of the hub, and a damaged file."""
    folder = tmp_path_factory.mktemp("folders")
    sae.save(folder / "run")
    (folder / "x.safetensors").write_bytes(b"no")
    sae.save_pretrained(folder / "hub")
    return folder


PRETRAINED = sdl.Dictionary.from_pretrained


@pytest.mark.parametrize(
    ("load", "name", "options", "message"),
    [
        (sdl.load, "run", {"activation": "relu", "k": 4}, "only for plain tensors, but the format is sdlcore"),
        (sdl.load, "nothing.safetensors", {}, "nothing.safetensors: neither a file or folder on this machine"),
        (sdl.load, "x.safetensors", {}, "x.safetensors: not readable as safetensors"),
        (PRETRAINED, "", {"subfolder": "gone"}, "/gone: neither a file or folder on this machine"),
    ],
)
def test_what_is_no_dictionary_is_not_loaded(load, name, options, message, folders):
    with pytest.raises(ValueError, match=message):
        load(folders / name, **options)


def test_an_upload_contains_the_files_of_a_pretrained_folder(sae, bench, tmp_path, monkeypatch):
    uploads = []

    class Hub:
        def __init__(self, token):
            assert token == "secret"

        def create_repo(self, repo_id, **_):
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, folder_path, **options):
            shutil.copytree(folder_path, tmp_path / "uploaded")
            uploads.append(options)

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    scores = sdl.evaluate(sae, bench, n_samples=200, nulls=False)
    sae.push_to_hub("owner/name", scores=scores, token="secret", commit_message="Add")
    assert [(one["repo_id"], one["commit_message"]) for one in uploads] == [("owner/name", "Add")]
    sae.save_pretrained(tmp_path / "hub", scores=scores)
    for path in (tmp_path / "hub").iterdir():
        assert (tmp_path / "uploaded" / path.name).read_bytes() == path.read_bytes()


def test_a_dictionary_goes_to_the_hub_and_back(sae, bench, both, tmp_path):
    scores = sdl.evaluate(sae, bench, n_samples=200)
    sae.save_pretrained(tmp_path / "hub", scores=scores)
    dictionary = sdl.Dictionary.from_pretrained(tmp_path / "hub")
    assert torch.equal(dictionary.W_dec, sae.W_dec)
    assert dictionary.history == sae.history
    card = ModelCard.load(tmp_path / "hub/README.md")
    assert card.data.library_name == "sdlcore"
    assert f"{scores['gt_recovery_decoder']:.4g}" in card.text
    assert "| k | `3` |" in card.text
    with pytest.warns(UserWarning, match=r"README\.md is kept, and may describe another dictionary"):
        sae.save_pretrained(tmp_path / "hub")
    sae.provenance["reencoded"] = {"l0": 2}
    assert "| reencoded | `{'l0': 2}` |" in sae.generate_model_card().text
    del sae.provenance["reencoded"]


def test_a_hub_id_is_looked_for_in_the_hubs_cache(sae, tmp_path):
    cached = tmp_path / "cache/models--owner--name"
    sae.save_pretrained(cached / "snapshots/abc")
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("abc")
    dictionary = sdl.Dictionary.from_pretrained("owner/name", cache_dir=tmp_path / "cache", local_files_only=True)
    assert torch.equal(dictionary.W_enc, sae.W_enc)
    assert dictionary.history == sae.history


def test_a_pretrained_folder_states_its_architecture_in_the_words_of_the_field(sae, tmp_path):
    sae.save_pretrained(tmp_path / "hub")
    config = json.loads((tmp_path / "hub/config.json").read_text())
    keys = ("library_name", "architecture", "d_in", "d_out", "d_sae", "k", "hook_name", "normalize_activations")
    assert [config[name] for name in keys] == ["sdlcore", "topk", 8, 8, 24, 3, None, "none"]
    assert config["training_normalisation"] == "normalise"
    assert config.items() >= json.loads(json.dumps(sae.provenance)).items()


def test_from_pretrained_takes_a_folder_inside_a_type_and_a_device(sae, tmp_path):
    sae.save_pretrained(tmp_path / "layers/layer_1")
    dictionary = sdl.Dictionary.from_pretrained(tmp_path / "layers", subfolder="layer_1", dtype="float64", device="cpu")
    assert dictionary.W_dec.dtype == torch.float64
    assert torch.equal(dictionary.W_dec.float(), sae.W_dec)


def test_a_pretrained_folder_is_the_folder_of_a_run(sae, both, tmp_path):
    sae.save_pretrained(tmp_path / "hub")
    opened = sdl.fit(both[0], out=tmp_path / "hub", **TOPK, **QUIET)
    assert opened.history == sae.history
    with pytest.raises(ValueError, match="hub belongs to another run: k is 3, here 4"):
        sdl.fit(both[0], out=tmp_path / "hub", **TOPK | {"k": 4}, **QUIET)


def test_a_dictionary_says_what_it_is(sae):
    assert repr(sae) == "Dictionary(sae, topk, k=3, n_p=8, n_q=24, n_r=8)"
