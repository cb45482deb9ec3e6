"""A user's own activations: files of every supported format, and messages for unsuitable ones."""

import json
import logging

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import means_of_classes
from sdlcore.errors import SourceError, StoreError
from sdlcore.evaluation.evaluate import evaluate_coder
from sdlcore.evaluation.ground_truth import GroundTruth
from sdlcore.random_streams import stream
from sdlcore.sources.files.arrays import open_array
from sdlcore.sources.files.copying import (
    BLOCK_ROWS,
    file_shapes,
    held_out,
    write_file_stores,
)
from sdlcore.sources.files.settings import FileSource
from tests.coders import coder
from tests.stores import write_store

ROWS = 10_000
RNG = np.random.default_rng(0)
X = RNG.standard_normal((ROWS, 6)).astype(np.float32)
X[:, 0] = np.arange(ROWS)
Y = RNG.standard_normal((ROWS, 4))
LABELS = RNG.integers(-1, 3, ROWS)
NAMES = np.array(["a", "b"])[LABELS.clip(0, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    np.save(folder / "x.npy", X)
    np.save(folder / "x_by_columns.npy", np.asfortranarray(X))
    np.save(folder / "x_big_endian.npy", X.astype(">f4"))
    np.save(folder / "y.npy", Y)
    np.save(folder / "labels.npy", LABELS)
    np.savez(folder / "all.npz", x=X, y=Y, labels=LABELS)
    np.savez_compressed(folder / "one.npz", x=X)
    np.savez(folder / "by_columns.npz", x=np.asfortranarray(X))
    with h5py.File(folder / "all.h5", "w") as file:
        file["layer5/x"] = X
        file["layer5/y"] = Y
        file["linked"] = h5py.SoftLink("/layer5/x")
    with h5py.File(folder / "one.hdf5", "w") as file:
        file.create_dataset("a/x", data=X, compression="gzip")
    write_store(folder / "store.h5", X, dtype="bfloat16")
    save_file({"x": X, "y": Y, "labels": LABELS}, folder / "all.safetensors")
    halves = {"bf16": torch.from_numpy(X).bfloat16(), "f16": torch.from_numpy(X).half()}
    save_torch({**halves, "f8": torch.ones(3, 2).to(torch.float8_e4m3fn)}, folder / "half.safetensors")
    (folder / "names.txt").write_text("a\nb\nç\n")
    (folder / "names.json").write_text(json.dumps(["a", "b", "ç"]))
    return folder


BF16 = torch.from_numpy(X).bfloat16().float().numpy()


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("x.npy", X),
        ("x_by_columns.npy", X),
        ("x_big_endian.npy", X),
        ("all.npz#x", X),
        ("all.npz#y", Y),
        ("one.npz", X),
        ("by_columns.npz", X),
        ("all.h5#layer5/x", X),
        ("all.h5#/layer5/y", Y),
        ("all.h5#linked", X),
        ("one.hdf5", X),
        ("store.h5#input", BF16),
        ("all.safetensors#y", Y),
        ("all.safetensors#labels", LABELS),
        ("half.safetensors#bf16", BF16),
        ("half.safetensors#f16", X.astype(np.float16)),
    ],
)
def test_rows_come_out_of_every_format_block_by_block(folder, reference, expected):
    with open_array(f"{folder}/{reference}") as array:
        assert array.shape == expected.shape
        assert array.name.endswith(reference)
        blocks = [array.read(start, start + 3000) for start in range(0, ROWS, 3000)]
        np.testing.assert_array_equal(np.concatenate(blocks), expected)
        np.testing.assert_array_equal(array.read(500, 600), expected[500:600])


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("gone.npy", "gone.npy: no such file"),
        ("x.npy#x", "x.npy#x: an .npy file contains one array without a name; write .*x.npy"),
        ("all.npz", "all.npz: contains several arrays or none; choose one with .*all.npz#KEY, found labels, x, y"),
        ("all.npz#z", "all.npz#z: the file has no array of that name, found labels, x, y"),
        ("all.h5#layer5", "all.h5#layer5: the file has no array of that name, found layer5/x, layer5/y"),
        ("all.safetensors#z", "all.safetensors#z: the file has no array of that name, found labels, x, y"),
        ("half.safetensors#f8", "half.safetensors#f8: not readable as rows 0 to -1"),
        ("names.txt", "names.txt: expected a file of type .npy, .npz"),
    ],
)
def test_a_wrong_reference_is_refused_with_the_arrays_that_exist(folder, reference, message):
    with pytest.raises(SourceError, match=message), open_array(f"{folder}/{reference}"):
        pass


@pytest.mark.parametrize("name", ["x.npy", "all.npz#x", "one.npz", "all.h5#layer5/x", "one.hdf5", "all.safetensors#x"])
@pytest.mark.parametrize("share", [0.001, 0.5])
def test_a_file_that_is_cut_off_is_named(folder, tmp_path, name, share):
    file = name.partition("#")[0]
    content = (folder / file).read_bytes()
    (tmp_path / file).write_bytes(content[: int(share * len(content))])
    with pytest.raises(SourceError, match=f"{file}.*not readable"):
        write_file_stores(FileSource(f"{tmp_path}/{name}"), tmp_path / "train.h5", tmp_path / "test.h5")
    assert not (tmp_path / "train.h5").exists()


@pytest.mark.parametrize("suffix", ["txt", "json"])
def test_a_held_out_share_and_the_rest_are_all_rows_in_order(folder, tmp_path, suffix):
    source = FileSource(
        f"{folder}/x.npy",
        target=f"{folder}/all.npz#y",
        labels=f"{folder}/labels.npy",
        class_names=f"{folder}/names.{suffix}",
        test_share=0.13,
        dtype="float16",
    )
    write_file_stores(source, tmp_path / "train.h5", tmp_path / "test.h5")
    rows = []
    for split in ("train", "test"):
        with ActivationStore(tmp_path / f"{split}.h5") as store:
            row = store.read("references/row")
            assert (np.diff(row) > 0).all()
            np.testing.assert_array_equal(store.read("input"), X[row].astype(np.float16))
            np.testing.assert_array_equal(store.read("target"), Y[row].astype(np.float16))
            np.testing.assert_array_equal(store.read("labels"), LABELS[row])
            assert store.class_names() == ["a", "b", "ç"]
            assert store.provenance["split"] == split
            assert len(store.provenance["files"]) == 4
            rows.append(row)
    assert len(rows[1]) == 1300
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(ROWS))


def test_held_out_rows_do_not_depend_on_the_requested_range():
    np.testing.assert_array_equal(held_out(4096, 8192, 0.2), held_out(4096, 8192, 0.2))
    assert not np.array_equal(held_out(0, 4096, 0.2), held_out(4096, 8192, 0.2))
    assert sum(held_out(start, start + 10, 0.05).sum() for start in range(0, 1000, 10)) == 50


def test_evaluation_may_have_separate_files(folder, tmp_path):
    np.save(tmp_path / "x.npy", X[:50])
    labels = np.arange(50) % 8
    np.save(tmp_path / "labels.npy", labels)
    source = FileSource(
        f"{folder}/x.npy",
        labels=f"{folder}/labels.npy",
        test_input=f"{tmp_path}/x.npy",
        test_labels=f"{tmp_path}/labels.npy",
    )
    write_file_stores(source, tmp_path / "train.h5", tmp_path / "test.h5")
    with ActivationStore(tmp_path / "train.h5") as train, ActivationStore(tmp_path / "test.h5") as test:
        assert (train.rows, test.rows) == (ROWS, 50)
        np.testing.assert_array_equal(test.read("labels"), labels)
        np.testing.assert_array_equal(train.read("input"), X)
        # the classes of both stores
        assert train.class_names() == test.class_names() == [str(label) for label in range(8)]


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_labels_may_be_names(suffix, tmp_path):
    names = np.array(["", "dog", "ant", "elephant"])[LABELS + 1]
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "few.npy", names[:50].astype("<U4"))  # a narrower type, in which "elep" is a name
    np.save(tmp_path / "labels.npy", names) if suffix == "npy" else np.savez(tmp_path / "labels.npz", names)
    source = FileSource(f"{tmp_path}/x.npy", labels=f"{tmp_path}/labels.{suffix}")
    write_file_stores(source, tmp_path / "train.h5", tmp_path / "test.h5")
    for split in ("train", "test"):
        with ActivationStore(tmp_path / f"{split}.h5") as store:
            assert store.class_names() == ["ant", "dog", "elephant"]
            called = np.array(["ant", "dog", "elephant", ""])[store.read("labels")]
            np.testing.assert_array_equal(called, names[store.read("references/row")])
    np.save(tmp_path / "negative.npy", -X)
    source = FileSource(
        source.input,
        labels=source.labels,
        test_input=f"{tmp_path}/negative.npy",
        test_labels=f"{tmp_path}/labels.{suffix}",
    )
    write_file_stores(source, tmp_path / "all.h5", tmp_path / "again.h5")
    with ActivationStore(tmp_path / "all.h5") as train, ActivationStore(tmp_path / "again.h5") as test:
        np.testing.assert_array_equal(train.read("labels"), test.read("labels"))
    np.save(tmp_path / "x50.npy", X[:50])
    source = FileSource(
        source.input, labels=source.labels, test_input=f"{tmp_path}/x50.npy", test_labels=f"{tmp_path}/few.npy"
    )
    write_file_stores(source, tmp_path / "one.h5", tmp_path / "other.h5")
    with ActivationStore(tmp_path / "one.h5") as train, ActivationStore(tmp_path / "other.h5") as test:
        assert train.class_names() == test.class_names() == ["ant", "dog", "elep", "elephant"]


def test_classes_without_names_are_called_by_their_labels_and_judged_by(tmp_path):
    rng = np.random.default_rng(0)
    directions = np.eye(6)[[0, 1, 2, 3, 4]]
    labels = rng.integers(-1, 5, ROWS).astype(np.int16)
    labels[labels == 1] = 3  # a class without a sample
    x = directions[labels] * 3 + 0.1 * rng.standard_normal((ROWS, 6))
    x[labels == -1] = 0.1 * rng.standard_normal((int((labels == -1).sum()), 6))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "labels.npy", labels)
    source = FileSource(f"{tmp_path}/x.npy", labels=f"{tmp_path}/labels.npy")
    write_file_stores(source, tmp_path / "train.h5", tmp_path / "test.h5")
    with ActivationStore(tmp_path / "train.h5") as train, ActivationStore(tmp_path / "test.h5") as test:
        assert train.class_names() == test.class_names() == ["0", "1", "2", "3", "4"]
        references, described = means_of_classes(train)
        assert described["name"].tolist() == train.class_names()
        assert described["left_out"].tolist() == ["", "no sample", "", "", ""]
        truth = GroundTruth(references, np.zeros(0, dtype=np.int64))
        model = coder(np.eye(6), np.eye(6), activation="topk", k=1)
        metrics = evaluate_coder(model, test, truth, stream(0, "chance")).metrics
    assert metrics["gt_recovery_decoder"] == 1.0
    assert metrics["macro_f1"] > 0.8


def with_row(values, row, value):
    changed = values.copy()
    changed[row] = value
    return changed


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"input": X[:, 0]},
            r"input.npy: contains float32 of shape \(10000,\), but input needs floating-point numbers, samples x",
        ),
        ({"input": LABELS[:, None]}, "input.npy: contains int64 .*, but input needs floating-point numbers"),
        ({"target": Y[:-1]}, "differ in rows: .*input.npy has 10000, .*target.npy has 9999"),
        ({"labels": LABELS.astype(float)}, "labels.npy: contains float64 .*, but labels needs integers"),
        (
            {"labels": LABELS[:, None]},
            r"shape \(10000, 1\), but labels needs .* one for each sample; save the result of \.ravel",
        ),
        (
            {"labels": np.stack([LABELS, LABELS], axis=1)},
            r"labels.npy: contains .* of shape \(10000, 2\), but labels needs .* one for each sample$",
        ),
        ({"labels": with_row(LABELS, 9000, -2)}, "labels.npy: row 9000 contains -2, expected a class from 0"),
        ({"labels": with_row(LABELS, 5, 2**40)}, "labels.npy: row 5 contains 1099511627776"),
        ({"labels": with_row(LABELS, 9, 70000)}, "labels.npy: row 9 contains 70000, expected a class from 0 to 65535"),
        ({"input": with_row(X, 9001, np.nan)}, "input.npy: row 9001 contains NaN or infinity"),
        ({"target": with_row(Y, 7, -np.inf)}, "target.npy: row 7 contains NaN or infinity"),
        (
            {"input": with_row(X, 4100, 1e30)},
            "input.npy: row 4100 contains 1e.30, too large for float16; set dtype float32",
        ),
        ({"input": X[:3]}, r"test_share 0\.1 of 3 rows leaves no row to train"),
        ({"labels": NAMES, "class_names": ["a", "b"]}, r"labels\.npy: contains names, so leave out class_names"),
        (
            {"labels": NAMES, "test_input": -X, "test_labels": LABELS},
            r"labels\.npy: contains int64 .*, but .*labels\.npy <U1",
        ),
        (
            {"labels": LABELS, "class_names": ["a", "b"]},
            r"labels\.npy: row \d+ contains 2, expected a class from 0 to 1, or -1",
        ),
    ],
)
def test_arrays_that_do_not_serve_are_refused(tmp_path, arrays, message):
    references = {}
    for name, values in {"input": X, **arrays}.items():
        path = tmp_path / f"{name}.{'txt' if name == 'class_names' else 'npy'}"
        path.write_text("\n".join(values)) if name == "class_names" else np.save(path, values)
        references[name] = str(path)
    with pytest.raises(ValueError, match=message):
        write_file_stores(FileSource(**references, dtype="float16"), tmp_path / "train.h5", tmp_path / "test.h5")
    assert not (tmp_path / "train.h5").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"class_names": "names.txt"}, "class_names: has no meaning without labels"),
        ({"test_input": "x.npy"}, "test_input: is the same as input; leave it out and set test_share"),
        ({"test_labels": "l.npy"}, "test_labels: has no meaning without test_input"),
        ({"test_input": "t.npy", "labels": "l.npy"}, "test_labels: missing"),
        ({"target": "t.csv"}, "target: t.csv: expected a file of type"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        FileSource(**{"input": "x.npy", **changed})


def test_an_interrupted_reading_goes_on_unless_a_file_has_changed(tmp_path, caplog):
    x = np.concatenate([X, X])
    np.save(tmp_path / "x.npy", with_row(x, 3 * BLOCK_ROWS, np.nan))
    source = FileSource(f"{tmp_path}/x.npy")

    def write():
        write_file_stores(source, tmp_path / "train.h5", tmp_path / "test.h5")

    for _ in range(2):
        with pytest.raises(StoreError, match="NaN"), caplog.at_level(logging.INFO):
            write()
    assert "resuming from row" in caplog.text
    np.save(tmp_path / "x.npy", x)
    write()
    assert "other settings or inputs" in caplog.text
    with ActivationStore(tmp_path / "train.h5") as train, ActivationStore(tmp_path / "test.h5") as test:
        assert train.rows + test.rows == 2 * ROWS


@pytest.mark.parametrize("files", [{"test_share": 0.07}, {"test_input": "few.npy", "test_target": "few.npy"}])
def test_shapes_are_those_of_the_stores(files, tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "few.npy", X[:50])
    source = FileSource(
        f"{tmp_path}/x.npy",
        target=f"{tmp_path}/x.npy",
        **{key: value if key == "test_share" else f"{tmp_path}/{value}" for key, value in files.items()},
    )
    write_file_stores(source, tmp_path / "train.h5", tmp_path / "test.h5")
    with ActivationStore(tmp_path / "train.h5") as train, ActivationStore(tmp_path / "test.h5") as test:
        assert file_shapes(source) == ((train.rows, test.rows), (X.shape[1], X.shape[1]))
