"""Invalid weight files of other libraries are rejected by file and name, before they take memory."""

import io
import json
import os
import pickle
import re
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
from tests.refusals import rows

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
    """Write a dictionary in a format, with tensors changed by a function, and settings replaced, or left out (...)."""
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
    part = content["trainer"] if name == "dictionary_learning" else content
    for key, value in settings.items():
        part.pop(key) if value is ... else part.update({key: value})
    config.write_text(json.dumps(content))
    return folder


def opened(path):
    return load(path, **({"activation": "topk", "k": 6} if path.suffix else {}))


def of_type(dtype):
    def change(state, encoder):
        state[encoder] = state[encoder].to(dtype)

    return change


WEIGHTS = [
    *(
        (
            str(dtype),
            of_type(dtype),
            f"ENCODER contains {str(dtype)[6:]}, expected weights of type float16, bfloat16, float32, float64",
        )
        for dtype in (torch.complex64, torch.uint16, torch.int32, torch.bool, torch.float8_e4m3fn)
    ),
    (
        "too large",
        lambda state, _: state.update(b_dec=torch.full_like(state["b_dec"], 1e300, dtype=torch.float64)),
        "b_dec contains NaN, infinity or numbers too large for float32",
    ),
    ("not finite", lambda state, _: state["b_dec"].fill_(torch.inf), r"b_dec contains NaN, infinity or"),
    (
        "unknown",
        lambda state, _: state.update({"\x1b[2Jevil": torch.zeros(1)}),
        r"contains unknown tensors \\x1b\[2Jevil",
    ),
    ("none", lambda state, _: state.clear(), "lacks the tensors .*, found none"),
]


@pytest.mark.parametrize(("change", "message"), rows(WEIGHTS))
@pytest.mark.parametrize("name", ENCODER)
def test_tensors_that_are_no_weights_are_refused(name, change, message, tmp_path):
    with pytest.raises(ValueError, match=message.replace("ENCODER", ENCODER[name])) as refused:
        opened(written(name, tmp_path / "out", lambda state: change(state, ENCODER[name])))
    assert "\x1b" not in str(refused.value)


def nothing(_):
    pass


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("saelens", {"d_sae": 95}, r"W_enc has shape \(24, 96\), expected \(d_in = 24, d_sae = 95\), as in cfg\.json"),
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
            "its inputs are scaled by a factor that is not in the weights; fold",
        ),
        (
            "saelens",
            {"normalize_activations": "covariance_whitening"},
            r"its inputs are whitened by a matrix that is not in the weights; fold .*fold_activation_whitening",
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
        ("saelens", {"architecture": "temporal"}, "architecture 'temporal' is not supported; expected"),
        ("saelens", {"normalize_activations": "layer_norm"}, "is 'layer_norm': it normalises each input separately"),
        ("saelens", {"architecture": "jumprelu"}, "lacks the tensors threshold"),
        ("saelens", {"architecture": ...}, r"cfg\.json: lacks architecture, but contains k"),
        ("saelens", {"k": 97}, "k must be between 1 and n_q = 96, found 97"),
        ("saelens", {"k": ...}, r"out/cfg\.json: lacks k, a whole number of at least 1"),
        ("saelens", {"activation_fn_str": "tanh-relu"}, "'tanh-relu' is not supported; expected relu or topk"),
        ("sparsify", {"activation": "groupmax"}, "activation 'groupmax' is not supported; expected topk"),
        ("sparsify", {"signed": True}, "sets signed, which is not supported"),
        ("sparsify", {"skip_connection": True}, "lacks the tensors W_skip"),
        ("dictionary_learning", {"dict_class": "IdentityDict"}, "'IdentityDict' is not supported; expected one of"),
        ("dictionary_learning", {"k": 5}, r"config\.json: k is 5, but k is 6 in ae\.pt"),
    ],
)
def test_settings_that_no_dictionary_has_are_refused(name, settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        opened(written(name, tmp_path / "out", nothing, **settings))


def test_sparsify_counts_latents_by_its_expansion_factor_where_their_number_is_zero(tmp_path):
    folder = written("sparsify", tmp_path / "out", nothing, num_latents=0, expansion_factor=4)
    assert opened(folder).config.n_q == 96


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


def test_arrays_of_either_byte_order_and_memory_order_are_read(tmp_path):
    state = {name: value.numpy() for name, value in model_of("topk").state_dict().items()}
    np.savez_compressed(tmp_path / "a.npz", **{name: np.asfortranarray(v.astype(">f8")) for name, v in state.items()})
    assert torch.equal(load(tmp_path / "a.npz", activation="topk", k=6).W_enc, model_of("topk").W_enc)


@pytest.fixture
def little_memory():
    """Fail a block that allocates more than `MEMORY` bytes."""
    locked = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (locked + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


def zipped(path, names, content, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name in names:
            with archive.open(name, "w") as member:
                for part in content:
                    member.write(part)


def array_header(*shape):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


def save_with(**changes):
    """Return a function that writes the tensors of a model to a file, some of them changed."""

    def write(path):
        state = dict(model_of("topk").state_dict()) | changes
        np.savez(path, **state) if path.suffix == ".npz" else save_file(state, path)

    return write


PLAIN = [
    (
        "one tensor by two names",
        "a.npz",
        save_with(w_enc=torch.ones(96, 24)),
        {"k": 6},
        "contains W_enc and w_enc, which mean the same; keep one",
    ),
    *((f"k {k} in the file", "a.npz", save_with(k=torch.tensor(k)), {}, ".*k contains") for k in (2.9, -1.0)),
    ("two k in the file", "a.npz", save_with(k=torch.tensor([3.0, 4.0])), {}, ".*k has shape"),
    ("k 2.9", "a.safetensors", save_with(), {"k": 2.9}, ".*k is 2.9, expected a whole number"),
    ("k True", "a.safetensors", save_with(), {"k": True}, ".*k is True, expected a whole number"),
    (
        "text for a flag",
        "a.safetensors",
        save_with(),
        {"k": 6, "apply_b_dec_to_input": "false"},
        ".*apply_b_dec_to_input is 'false', expected true or false",
    ),
    (
        "threshold nan",
        "a.safetensors",
        save_with(),
        {"k": 6, "threshold": float("nan")},
        ".*threshold is nan, expected a finite number",
    ),
    *(
        (
            f"{name} of shape {shape}",
            name,
            save_with(W_enc=torch.empty(shape), W_dec=torch.empty(shape)),
            {"k": 6},
            rf"W_\w+ is empty \(shape \({shape[0]}, {shape[1]}\)\)",
        )
        for name in ("a.npz", "a.safetensors")
        for shape in ((10**9, 0), (0, 24))
    ),
    (
        "unpacks to far more than its size",
        "a.npz",
        lambda path: zipped(path, ["W_enc.npy"], [array_header(10_000, 2_000), *[bytes(10**6)] * 80]),
        {},
        r"\d+ bytes would unpack to 800\d+, too many for weights",
    ),
    (
        "a header of more than its member holds",
        "a.npz",
        lambda path: zipped(path, ["W_enc.npy", "W_dec.npy"], [array_header(10**6, 10**4), bytes(64)]),
        {},
        "not readable .* 40000000000 bytes, but 64 bytes follow",
    ),
]


@pytest.mark.parametrize(("name", "write", "options", "message"), rows(PLAIN))
def test_plain_tensors_are_refused_in_little_memory(name, write, options, message, tmp_path, little_memory):
    write(tmp_path / name)
    message = message if message.startswith(".*") else f"{re.escape(name)}: {message}"
    with pytest.raises(ValueError, match=message):
        load(tmp_path / name, activation="topk", **options)


def save_changed(**changes):
    """Return a function that writes an ae.pt again with some tensors changed."""

    def write(path):
        state = torch.load(path)
        torch.save(state | {name: value(state) for name, value in changes.items()}, path)

    return write


def cut_storage(path):
    """Cut the numbers of the encoder, whose size the file still declares."""
    content = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(content, "w") as new:
        for member in old.infolist():
            data = old.read(member)
            new.writestr(member.filename, data[:64] if member.filename.endswith("data/1") else data)
        new.writestr("ae/padding", bytes(10_000))
    path.write_bytes(content.getvalue())


def groups_of_others(path):
    """Write a Matryoshka dictionary whose groups are not all latents."""
    for file in FORMATS["dictionary_learning"].files:
        (path.parent / file).unlink()
    export(model_of("batchtopk"), "dictionary_learning", path.parent, prefixes=[16, 96])
    save_changed(group_sizes=lambda state: torch.tensor([16, 79]))(path)


class Bytes:
    """Unpickles to 10 GB."""

    def __reduce__(self):
        return bytearray, (10**10,)


ENCODERS = {
    "a row that is repeated": lambda state: torch.zeros(1).expand(30_000, 100_000),
    "rows that overlap": lambda state: torch.zeros(100_000).as_strided((50_000, 50_000), (1, 1)),
    "sparse": lambda state: state["encoder.weight"].to_sparse(),
    "without numbers": lambda state: state["encoder.weight"].to("meta"),
}
NOT_DENSE = r".*contains torch\._utils\._rebuild_\w+, expected only"
REPEATED = r".*encoder\.weight of shape .* takes \d+ bytes, but only \d+ are in"
AE = [
    *(
        (name, save_changed(**{"encoder.weight": tensor}), REPEATED if "row" in name else NOT_DENSE)
        for name, tensor in ENCODERS.items()
    ),
    (
        "one tensor by many names",
        lambda path: torch.save(dict.fromkeys(map(str, range(3000)), torch.zeros(2**18)), path),
        "declares 3000 tensors that share the same numbers",
    ),
    ("a storage that is cut", cut_storage, "declares tensor sizes that differ"),
    (
        "compressed",
        lambda path: zipped(path, ["a/data.pkl", "a/data/0"], [bytes(2**20)]),
        r"is compressed, which torch\.save never does",
    ),
    (
        "a pickle that asks for memory",
        lambda path: zipped(path, ["a/data.pkl"], [pickle.dumps({"b": Bytes()}, protocol=2)], zipfile.ZIP_STORED),
        r"contains __builtin__\.bytearray, expected only dense tensors",
    ),
    *((f"k {k}", save_changed(k=lambda state, k=k: torch.tensor(k)), ".*k contains") for k in (2.9, -1.0)),
    ("two k", save_changed(k=lambda state: torch.tensor([3.0, 4.0])), ".*k has shape"),
    (
        "a model",
        lambda path: torch.save({"weights": model_of("topk")}, path),
        "contains .*, expected only dense tensors",
    ),
    ("groups of other latents", groups_of_others, "group_sizes add up to 95, expected dict_size = 96"),
]


@pytest.mark.parametrize(("write", "message"), rows(AE))
def test_an_ae_pt_that_is_no_dictionary_is_refused_in_little_memory(write, message, tmp_path, little_memory):
    folder = written("dictionary_learning", tmp_path / "out", nothing)
    write(folder / "ae.pt")
    with pytest.raises(ValueError, match=rf"ae\.pt:? {message}") as refused:
        load(folder)
    assert "\x1b" not in str(refused.value)  # torch colours what it says of pickles


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
