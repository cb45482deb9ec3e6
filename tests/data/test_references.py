import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.data import references
from sdlcore.data.arrays import Arrays
from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import References, load_references, means_of_classes, save_references
from sdlcore.data.writing import resume_store
from sdlcore.model.scaling import directions
from sdlcore.storage.checksums import write_with_checksum
from sdlcore.training import normalisation
from tests.coders import coder
from tests.stores import write_store

W = np.eye(5)[:, :4]
NAMES = ["cat", "dog", "nothing", "owl", "rare"]


@pytest.fixture(scope="module", params=[False, True], ids=["input", "input and target"])
def store(request, tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("references") / "store.h5"
    labels = rng.choice([-1, 0, 1, 3], size=300)
    labels[7] = 4
    centres = rng.standard_normal((6, 5)) * 3 + 2
    x = centres[labels] + rng.standard_normal((300, 5))
    target = x[:, :3] ** 2 if request.param else None
    with resume_store(path, {}, "float32", class_names=NAMES) as writer:
        for part in (slice(0, 200), slice(200, 300)):
            writer.append(x[part], None if target is None else target[part], labels=labels[part])
    with ActivationStore(path) as opened:
        yield opened


@pytest.mark.parametrize("centred", [pytest.param(False, marks=pytest.mark.slow), True])
@given(rows=st.integers(1, 400), fewest=st.integers(1, 2))
def test_they_are_the_normalised_means_however_the_store_is_read(store, centred, rows, fewest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "ROWS_AT_ONCE", rows)
        means, columns = means_of_classes(store, centred, fewest)
    classes = pd.DataFrame(columns)
    labels = store.read("labels")
    assert list(means.classes) == ([0, 1, 3, 4] if fewest == 1 else [0, 1, 3])
    assert (means.W_r is None) == (len(store.widths) == 1)
    for column, W in (("input", means.W_p), ("target", means.W_r)):
        if W is None:
            continue
        x = store.read(column).astype(np.float64)
        for i, label in enumerate(means.classes):
            mean = x[labels == label].mean(0) - (x.mean(0) if centred else 0)
            np.testing.assert_allclose(W[:, i], mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-5)
    assert list(classes["samples"]) == [(labels == label).sum() for label in range(5)]
    assert list(classes["left_out"]) == ["", "", "no sample", "", "" if fewest == 1 else "fewer than 2 samples"]
    used_classes = classes[classes["left_out"] == ""]
    cosines = means.W_p.T @ means.W_p
    for i, (_, row) in enumerate(used_classes.iterrows()):
        other = np.delete(cosines[i], i)
        assert row["cosine"] == pytest.approx(other.max(), abs=1e-6)
        assert row["nearest"] == NAMES[np.delete(means.classes, i)[other.argmax()]]
    assert classes.loc[2, ["norm", "cosine"]].isna().all()


@pytest.mark.parametrize("centred", [False, True])
def test_an_anchored_latent_of_normalised_training_lies_along_the_mean_in_raw_activations(store, centred):
    means, _ = means_of_classes(store, centred)
    scaling = normalisation.fit_normalisation(store, "sae")
    W = torch.from_numpy(means.W_p.T.copy())
    tied_p, tied_r = directions(scaling, W, W)
    model = coder(tied_p, tied_r, bias=True)
    scaling.fold(model)
    for weights in (model.W_enc, model.W_dec):
        torch.testing.assert_close(torch.nn.functional.normalize(weights.detach()), W)


def test_files_keep_them_and_those_of_a_bench_are_read_alike(store, tmp_path):
    means, _ = means_of_classes(store)
    save_references(tmp_path / "r.safetensors", means, {"seed": 0})
    loaded = load_references(tmp_path / "r.safetensors")
    for saved, expected in zip((*loaded.sites, loaded.classes), (*means.sites, means.classes), strict=True):
        np.testing.assert_array_equal(saved, expected)
    assert (loaded.class_names, loaded.centred) == (means.class_names, means.centred)
    write_with_checksum(tmp_path / "bench.safetensors", {"W_p": means.W_p}, {})
    loaded = load_references(tmp_path / "bench.safetensors")
    assert (loaded.W_r, loaded.classes, loaded.class_names, loaded.centred) == (None,) * 4


def test_labels_match_by_the_names_of_their_classes(store):
    means, _ = means_of_classes(store)
    samples = Arrays(np.ones((4, 5), np.float32), labels=np.array([1, -1, 0, 1]), class_names=["owl", "cat"])
    assert means.labels_of(samples).tolist() == [0, -1, 3, 0]
    names = ["sunglasses", "cat", "sunglasses"]  # ImageNet-1K has two such, and two named missile
    samples = Arrays(np.eye(4, 5, dtype=np.float32), labels=np.array([0, 2, 1, -1]), class_names=names)
    assert means_of_classes(samples)[0].labels_of(samples).tolist() == [0, 2, 1, -1]


@pytest.mark.parametrize(("name", "found"), [("cow", 0), ("dog", 2)])
def test_labels_that_name_no_single_class_are_refused_by_name(name, found):
    samples = Arrays(np.ones((2, 5), np.float32), labels=np.array([0, 1]), class_names=["owl", name])
    with pytest.raises(ValueError, match=f"label {name} is the name of {found} reference classes, expected one of cat"):
        References(W, classes=np.arange(4), class_names=["cat", "dog", "dog", "owl"]).labels_of(samples)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"W_p": None}, "expected a tensor W_p, found W_r, classes"),
        ({"W_p": 2 * W, "W_r": None}, "column 0 of W_p has norm 2, expected a unit vector"),
        (dict.fromkeys(("W_p", "W_r"), np.where(np.arange(4) == 1, 0, W)), "column 1 is zero at every site, expected"),
        ({"W_r": W[:, :2]}, r"W_r is float64 of shape \(5, 2\), expected a unit vector in each column"),
    ],
)
def test_references_that_are_no_unit_vectors_are_refused_by_the_name_of_their_file(tmp_path, changed, message):
    tensors = {"W_p": W, "W_r": W, "classes": np.arange(4)} | changed
    write_with_checksum(tmp_path / "r.safetensors", {k: v for k, v in tensors.items() if v is not None}, {})
    with pytest.raises(ValueError, match=rf"r\.safetensors: {message}"):
        load_references(tmp_path / "r.safetensors")


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (None, None, "has no labels with class names"),
        ([1, 1, -1], ["a", "b"], r"0 classes have 1 samples \(min_class_size\) and a nonzero mean, expected two"),
    ],
)
def test_stores_that_have_no_class_means_are_refused_by_name(tmp_path, labels, names, message):
    write_store(
        tmp_path / "s.h5", np.ones((3, 2)), labels=None if labels is None else np.array(labels), class_names=names
    )
    with ActivationStore(tmp_path / "s.h5") as bare, pytest.raises(ValueError, match=rf"s\.h5: {message}"):
        means_of_classes(bare, centred=True)


def test_directions_of_further_sites_are_saved_and_may_be_zero(tmp_path):
    W = [np.eye(3, dtype=np.float32), np.diag([1, 0, 1]).astype(np.float32), np.diag([0, 1, 1]).astype(np.float32)]
    references = References(*W)
    save_references(tmp_path / "r.safetensors", references, {})
    loaded_references = load_references(tmp_path / "r.safetensors")
    for saved, expected in zip(loaded_references.sites, W, strict=True):
        np.testing.assert_array_equal(saved, expected)
    assert [w.shape for w in loaded_references.choose(2).sites] == [(2, 3)] * 3
