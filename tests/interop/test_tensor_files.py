"""Invalid weight files of other libraries are rejected by file and name, before they take memory."""

import io
import json
import os
import pickle
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sdlcore.interop.export import export
from sdlcore.interop.load import load
from sdlcore.interop.registry import FORMATS
from tests.interop.models import model_of

READ = [name for name, file_format in FORMATS.items() if file_format.read]
ENCODER = {
    "saelens": "W_enc",
    "sparsify": "encoder.weight",
    "dictionary_learning": "encoder.weight",
    "tensors": "W_enc",
}
MEMORY = 2**27
"""Memory limit for reading a small file, in bytes."""


def written(name, folder, change, **settings):
    """Write a dictionary in a format, with its tensors changed by a function and some settings replaced."""
    if name == "tensors":
        state = dict(model_of("topk").state_dict())
        folder.mkdir()
        change(state)
        save_file(state, folder / "weights.safetensors")
        return folder / "weights.safetensors"
    export(model_of("topk"), name, folder)
    weights, config = (folder / file for file in FORMATS[name].files)
    state = torch.load(weights) if name == "dictionary_learning" else load_file(weights)
    change(state)
    (torch.save if name == "dictionary_learning" else save_file)(state, weights)
    content = json.loads(config.read_text())
    (content["trainer"] if name == "dictionary_learning" else content).update(settings)
    config.write_text(json.dumps(content))
    return folder


def opened(path):
    return load(path, **({"activation": "topk", "k": 6} if path.suffix else {}))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.uint16, torch.int32, torch.bool, torch.float8_e4m3fn])
@pytest.mark.parametrize("name", ENCODER)
def test_weights_of_another_type_are_refused(name, dtype, tmp_path):
    def change(state):
        state[ENCODER[name]] = state[ENCODER[name]].to(dtype)

    expected = (
        rf"{ENCODER[name]} contains {str(dtype)[6:]}, expected weights of type float16, bfloat16, float32, float64"
    )
    with pytest.raises(ValueError, match=expected):
        opened(written(name, tmp_path / "out", change))


@pytest.mark.parametrize("name", ENCODER)
def test_numbers_that_float32_cannot_hold_are_refused(name, tmp_path):
    def change(state):
        state["b_dec"] = torch.full_like(state["b_dec"], 1e300, dtype=torch.float64)

    with pytest.raises(ValueError, match="b_dec contains NaN, infinity or numbers too large for float32"):
        opened(written(name, tmp_path / "out", change))


def nothing(_):
    pass


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "saelens",
            {"d_sae": 95},
            r"W_enc has shape \(24, 96\), expected \(d_in = 24, d_sae = 95\), as in cfg\.json",
        ),
        ("saelens", {"d_in": 23}, r"W_enc has shape \(24, 96\), expected \(d_in = 23, d_sae = 96\), as in cfg\.json"),
        ("saelens", {"d_in": "24"}, r"cfg\.json: d_in is '24', expected a whole number"),
        ("saelens", {"k": 2.9}, r"cfg\.json: k is 2\.9, expected a whole number"),
        ("saelens", {"k": True}, r"cfg\.json: k is True, expected a whole number"),
        ("saelens", {"apply_b_dec_to_input": "false"}, r"apply_b_dec_to_input is 'false', expected true or false"),
        ("saelens", {"rescale_acts_by_decoder_norm": 0}, r"rescale_acts_by_decoder_norm is 0, expected true or false"),
        (
            "saelens",
            {"normalize_activations": "l2"},
            r"cfg\.json: normalize_activations is 'l2', expected one of none,",
        ),
        (
            "saelens",
            {"normalize_activations": "expected_average_only_in"},
            "its inputs are scaled by a factor that is not in the folder; fold",
        ),
        (
            "saelens",
            {"reshape_activations": "hook_q"},
            r"reshape_activations is 'hook_q', expected one of none, hook_z",
        ),
        ("saelens", {"architecture": 3}, r"architecture is 3, expected text"),
        (
            "sparsify",
            {"num_latents": 95},
            r"encoder\.weight has shape \(96, 24\), expected \(num_latents = 95, d_in = 24",
        ),
        ("sparsify", {"k": 2.9}, r"cfg\.json: k is 2\.9, expected a whole number"),
        ("sparsify", {"transcode": "false"}, r"transcode is 'false', expected true or false"),
        ("sparsify", {"signed": "false"}, r"signed is 'false', expected true or false"),
        ("sparsify", {"embed_skip": True}, r"sets embed_skip, which is not supported"),
        (
            "dictionary_learning",
            {"dict_size": 95},
            r"encoder\.weight has shape \(96, 24\), expected \(dict_size = 95, ",
        ),
        (
            "dictionary_learning",
            {"activation_dim": 2.5},
            r"config\.json: trainer\.activation_dim is 2\.5, expected a whole",
        ),
        ("dictionary_learning", {"k": 6.5}, r"trainer\.k is 6\.5, expected a whole number"),
        ("dictionary_learning", {"dict_class": "AutoEncoder"}, r"lacks the tensors bias, found b_dec, "),
    ],
)
def test_settings_of_another_type_or_that_weights_contradict_are_refused(name, settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        opened(written(name, tmp_path / "out", nothing, **settings))


def test_sparsify_counts_latents_by_its_expansion_factor_where_their_number_is_zero(tmp_path):
    folder = written("sparsify", tmp_path / "out", nothing, num_latents=0, expansion_factor=4)
    assert opened(folder).config.n_q == 96


@pytest.mark.parametrize("name", ENCODER)
def test_names_of_missing_and_unknown_tensors_are_listed_as_text(name, tmp_path):
    def add(state):
        state["\x1b[2Jevil"] = torch.zeros(1)

    with pytest.raises(ValueError, match=r"contains unknown tensors \\x1b\[2Jevil") as refused:
        opened(written(name, tmp_path / "out", add))
    assert "\x1b" not in str(refused.value)
    with pytest.raises(ValueError, match=r"lacks the tensors .*, found none"):
        opened(written(name, tmp_path / "none", dict.clear))


@pytest.mark.parametrize("value", [2.9, -1.0, [3.0, 4.0]])
def test_a_k_among_the_tensors_is_one_whole_number(value, tmp_path):
    def change(state):
        state["k"] = torch.tensor(value)

    with pytest.raises(ValueError, match=r"ae\.pt: k (contains|has shape)"):
        opened(written("dictionary_learning", tmp_path / "out", change))
    state = {name: value.numpy() for name, value in model_of("topk").state_dict().items()}
    np.savez(tmp_path / "a.npz", **state, k=np.array(value))
    with pytest.raises(ValueError, match=r"a\.npz: .*k (contains|has shape)"):
        load(tmp_path / "a.npz", activation="topk")


def test_groups_that_are_not_all_latents_are_refused(tmp_path):
    folder = export(model_of("batchtopk"), "dictionary_learning", tmp_path / "out", prefixes=[16, 96])
    state = torch.load(folder / "ae.pt")
    torch.save(state | {"group_sizes": torch.tensor([16, 79])}, folder / "ae.pt")
    with pytest.raises(ValueError, match=r"ae\.pt: group_sizes add up to 95, expected dict_size = 96"):
        load(folder)


def test_a_scaling_factor_of_saelens_is_ignored_only_where_it_is_one(tmp_path):
    def scaled(by):
        return lambda state: state.update(scaling_factor=torch.full((96,), by))

    assert torch.equal(opened(written("saelens", tmp_path / "one", scaled(1.0))).W_dec, model_of("topk").W_dec)
    with pytest.raises(ValueError, match=r"scaling_factor contains numbers other than 1"):
        opened(written("saelens", tmp_path / "two", scaled(2.0)))


@pytest.mark.parametrize("before_6", [False, None])
def test_what_saelens_wrote_for_no_normalisation_before_6_is_none(before_6, tmp_path):
    folder = written("saelens", tmp_path / "out", nothing, normalize_activations=before_6)
    assert torch.equal(opened(folder).W_dec, model_of("topk").W_dec)


def test_of_two_names_that_mean_the_same_none_is_picked(tmp_path):
    state = {name: value.numpy() for name, value in model_of("topk").state_dict().items()}
    np.savez(tmp_path / "a.npz", **state, w_enc=2 * state["W_enc"])
    with pytest.raises(ValueError, match=r"a\.npz: contains W_enc and w_enc, which mean the same; keep one"):
        load(tmp_path / "a.npz", activation="topk", k=6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 2.9}, "k is 2.9, expected a whole number"),
        ({"k": True}, "k is True, expected a whole number"),
        ({"k": 6, "apply_b_dec_to_input": "false"}, "apply_b_dec_to_input is 'false', expected true or false"),
        ({"k": 6, "threshold": float("nan")}, "threshold is nan, expected a finite number"),
    ],
)
def test_options_of_plain_tensors_are_of_their_type(options, message, tmp_path):
    save_file(dict(model_of("topk").state_dict()), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "a.safetensors", activation="topk", **options)


def test_arrays_of_either_byte_order_and_memory_order_are_read(tmp_path):
    state = {name: value.numpy() for name, value in model_of("topk").state_dict().items()}
    np.savez_compressed(tmp_path / "a.npz", **{name: np.asfortranarray(v.astype(">f8")) for name, v in state.items()})
    assert torch.equal(load(tmp_path / "a.npz", activation="topk", k=6).W_enc, model_of("topk").W_enc)


def test_a_folder_is_no_file_of_plain_tensors(tmp_path):
    np.savez(tmp_path / "params.npz", W_enc=np.ones((2, 3)), W_dec=np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"is a folder; give the file with the tensors \(params\.npz\)"):
        load(tmp_path, "tensors", activation="relu")
    with pytest.raises(ValueError, match=r"params\.npz may contain plain tensors: give the file and their options"):
        load(tmp_path)


@pytest.fixture
def little_memory():
    """Fail a block that allocates more than `MEMORY` bytes."""
    locked = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (locked + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


def expanded(state):
    state["encoder.weight"] = torch.zeros(1).expand(30_000, 100_000)


def overlapping(state):
    state["encoder.weight"] = torch.zeros(100_000).as_strided((50_000, 50_000), (1, 1))


@pytest.mark.parametrize("change", [expanded, overlapping])
def test_tensors_that_repeat_few_numbers_take_no_memory(change, tmp_path, little_memory):
    folder = written("dictionary_learning", tmp_path / "out", change)
    with pytest.raises(ValueError, match=r"ae\.pt: encoder\.weight of shape .* takes \d+ bytes, but only \d+ are in"):
        load(folder)


def test_one_tensor_by_many_names_takes_no_memory(tmp_path, little_memory):
    folder = written("dictionary_learning", tmp_path / "out", nothing)
    torch.save(dict.fromkeys(map(str, range(3000)), torch.zeros(2**18)), folder / "ae.pt")
    with pytest.raises(ValueError, match=r"out: .*ae\.pt declares 3000 tensors that share the same numbers"):
        load(folder)


def test_a_storage_that_declares_more_than_it_has_gives_no_bytes_of_other_memory(tmp_path):
    folder = written("dictionary_learning", tmp_path / "out", nothing)
    content = io.BytesIO()
    with zipfile.ZipFile(folder / "ae.pt") as old, zipfile.ZipFile(content, "w") as new:
        for member in old.infolist():
            data = old.read(member)
            if member.filename.endswith("data/1"):  # the encoder's weights
                data = data[:64]
            new.writestr(member.filename, data)
        new.writestr("ae/padding", bytes(10_000))
    (folder / "ae.pt").write_bytes(content.getvalue())
    with pytest.raises(ValueError, match=r"out: .*ae\.pt declares tensor sizes that differ"):
        load(folder)


@pytest.mark.parametrize("shape", [(10**9, 0), (0, 24)])
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_an_empty_tensor_with_a_huge_dimension_takes_no_memory(suffix, shape, tmp_path, little_memory):
    state = {"W_enc": torch.empty(shape), "W_dec": torch.empty(shape)}
    file = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(file, **{name: value.numpy() for name, value in state.items()})
    else:
        save_file(state, file)
    with pytest.raises(ValueError, match=rf"a\.{suffix}: W_\w+ is empty \(shape \({shape[0]}, {shape[1]}\)\)"):
        load(file, activation="relu")


def zipped(path, names, content, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name in names:
            with archive.open(name, "w") as member:
                for part in content:
                    member.write(part)


def test_an_npz_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path, little_memory):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10_000, 2_000)})
    zipped(tmp_path / "a.npz", ["W_enc.npy"], [header.getvalue(), *[bytes(10**6)] * 80])
    with pytest.raises(ValueError, match=r"a\.npz: \d+ bytes would unpack to 800\d+, too many for weights"):
        load(tmp_path / "a.npz", activation="relu")


def test_a_header_that_declares_more_than_its_member_holds_is_refused(tmp_path, little_memory):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**4)})
    zipped(tmp_path / "a.npz", ["W_enc.npy", "W_dec.npy"], [header.getvalue(), bytes(64)])
    with pytest.raises(ValueError, match=r"a\.npz: not readable .* 40000000000 bytes, but 64 bytes follow"):
        load(tmp_path / "a.npz", activation="relu")


def test_a_pickle_that_is_compressed_or_asks_for_memory_is_refused(tmp_path, little_memory):
    folder = written("dictionary_learning", tmp_path / "out", nothing)
    zipped(folder / "ae.pt", ["a/data.pkl", "a/data/0"], [bytes(2**20)])
    with pytest.raises(ValueError, match=r"ae\.pt is compressed, which torch\.save never does"):
        load(folder)

    class Bytes:
        def __reduce__(self):
            return bytearray, (10**10,)

    zipped(folder / "ae.pt", ["a/data.pkl"], [pickle.dumps({"b_dec": Bytes()}, protocol=2)], zipfile.ZIP_STORED)
    with pytest.raises(ValueError, match=r"ae\.pt contains __builtin__\.bytearray, expected only dense tensors"):
        load(folder)


@pytest.mark.parametrize("kind", ["sparse", "meta"])
def test_tensors_that_are_not_dense_are_refused(kind, tmp_path):
    def change(state):
        dense = state["encoder.weight"]
        state["encoder.weight"] = {
            "sparse": dense.to_sparse,
            "meta": lambda: dense.to("meta"),
        }[kind]()

    with pytest.raises(
        ValueError, match=r"out: not readable as .*ae\.pt contains torch\._utils\._rebuild_\w+, expected only"
    ):
        load(written("dictionary_learning", tmp_path / "out", change))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("which", [0, -1])
def test_a_pipe_is_not_waited_for(name, which, tmp_path):
    folder = written(name, tmp_path / "out", nothing)
    file = folder / FORMATS[name].files[which]
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ValueError, match=f"{file.name}: no such file"):
        load(folder, name)
