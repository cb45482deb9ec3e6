"""Figures 9 and 10, made from files on disk."""

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from sdlcore.data.anchors import Anchors, save_anchors
from sdlcore.data.references import References, save_references
from sdlcore.data.writing import resume_store
from tests.sdlstudy.products import studies
from tests.stores import write_store

NAMES = ["cat", "dog", "owl"]
MEANS = np.eye(4, dtype=np.float32)[:, :3]


def configuration(**images):
    """Return a configuration of figure 9, with anchors, and figure 10, without."""
    figure = {"source": "pictures", "method": "relu"}
    source = {"model": "ViT-B-32-quickgelu", "pretrained": "openai", "test_samples": 6, "run": {"n_q": 64}}
    return studies.alone(
        {
            "seeds": [5, 6],
            "sources": {"clip": {"pictures": source | images}},
            "anchorings": {"class_means": {"n_anchors": 2}},
            "figures": {"figure9": figure | {"anchoring": "class_means"}, "figure10": figure},
        }
    )


def write_runs(folder, config, images):
    """Write two pictures a class and a store of them, and runs whose latents are the means of classes, turned about."""
    files = config.files()
    (folder / images).mkdir(parents=True)
    labels = np.array([0, 0, 1, 1, 2, 2])
    paths = [f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((4, 4, 3), 40 * i, dtype=np.uint8)).save(folder / images / path)
    x = MEANS.T[labels] * np.arange(1, 7)[:, None] + 0.5 * MEANS.T[[1]]
    write_store(
        folder / files.store("pictures", 5, "test"), x, labels=labels, references={"path": paths}, class_names=NAMES
    )
    save_references(folder / files.references("pictures", 5), References(MEANS, classes=np.arange(3)), {})
    anchors = Anchors(MEANS.T[[1, 0]], feature=np.array([1, 0]))
    save_anchors(folder / files.anchors("pictures", "class_means", 5), anchors, {})
    for figure, latents in ((config.figures.figure9, [1, 0, 2]), (config.figures.figure10, [2, 1, 0])):
        weights = MEANS.T[latents]
        studies.write_dictionary(folder / files.model(figure.cell(config)), weights, weights)


def words(config, name, rows, folder):
    """Return the title of a drawn figure, and the heading of its last histogram."""
    with studies.chdir(folder):
        figure = config.products()[name].draw(rows, config.files())
    headings = [text.get_text() for text in figure.findobj(Text) if text.get_text().startswith("latent")]
    return figure.get_suptitle(), headings[-1]


@pytest.mark.parametrize(
    ("images", "folder"),
    [
        ({"images": "train"}, "train"),
        ({"images": "train", "test_images": "test"}, "test"),
        ({"images": "fashion_mnist", "test_samples": 7}, "results/quick/images/fashion_mnist_20000_7/test"),
    ],
    ids=["held out", "own folder", "made here"],
)
def test_rows_are_latents_that_match_the_first_anchored_classes_with_their_images(tmp_path, images, folder):
    config = configuration(**images)
    write_runs(tmp_path, config, folder)
    rows = studies.pictured(tmp_path, studies.make(config, "figure9", tmp_path), "figure9", width=900)
    columns = ["latent", "reference", "tied", "place", "class", "path"]
    dogs = [[0, "dog", True, place, name, f"{i}.png"] for place, (name, i) in enumerate([("dog", 3), ("dog", 2)])]
    # every sample contains a little of a dog
    assert rows[columns].to_numpy().tolist()[:2] == dogs
    cats = rows[rows["reference"] == "cat"]
    assert cats[columns].to_numpy().tolist() == [
        [1, "cat", True, 0, "cat", "1.png"],
        [1, "cat", True, 1, "cat", "0.png"],
    ]
    assert cats["activation"].tolist() == [2, 1]
    assert rows["cosine"].tolist() == [1] * len(rows)
    title, latent = words(config, "figure9", rows, tmp_path)
    assert title == "ReLU SAE, anchored to class means, on pictures, seed 5"
    assert latent == "latent 1, tied to cat (cosine 1.00):\n1 class share its top 2"
    inputs = config.products()["figure9"].inputs(config.files())
    assert (folder.removesuffix("/test") in inputs) == (images["images"] == "fashion_mnist")


def test_a_run_without_anchors_shows_the_same_classes_tied_to_none(tmp_path):
    config = configuration(images="train")
    write_runs(tmp_path, config, "train")
    rows = studies.pictured(tmp_path, studies.make(config, "figure10", tmp_path), "figure10", width=900)
    assert rows[["latent", "reference", "tied"]].drop_duplicates().to_numpy().tolist() == [
        [1, "dog", False],
        [2, "cat", False],
    ]
    assert words(config, "figure10", rows, tmp_path)[0] == "ReLU SAE, not anchored, on pictures, seed 5"


def test_a_source_without_anchored_runs_is_refused():
    config = configuration(images="train")
    alone = config.model_copy(update={"figures": config.figures.model_copy(update={"figure9": None})})
    with pytest.raises(ValueError, match=r"figures\.figure10: no run on pictures has anchors"):
        alone.products()["figure10"].inputs(alone.files())


def test_a_source_of_patches_counts_each_image_once_and_shows_a_heat_map(tmp_path):
    config = configuration(images="train")
    write_runs(tmp_path, config, "train")
    store = tmp_path / config.files().store("pictures", 5, "test")
    store.unlink()
    paths = np.repeat([f"{i}.png" for i in range(6)], 4)
    x = np.zeros((24, 4))
    x[[3, 9, 10], 0] = 1, 5, 4  # a cat at the last patch of picture 0, and at two patches of picture 2
    references = {"path": paths, "patch": np.tile(np.arange(4, dtype=np.int32), 6)}
    with resume_store(store, {"preprocessing": {"size": 4}}, "float32", NAMES) as writer:
        writer.append(x, labels=np.repeat([0, 0, 1, 1, 2, 2], 4), references=references)
    rows = studies.pictured(tmp_path, studies.make(config, "figure9", tmp_path), "figure9", width=900)
    cats = rows[rows["reference"] == "cat"]
    assert cats[["activation", "path"]].to_numpy().tolist() == [[5, "2.png"], [1, "0.png"]]
    with studies.chdir(tmp_path):
        _, (_, _, cat) = config.products()["figure9"].matching_latents(config.files(), 2)
    assert cat.contexts[0].heat.tolist() == [[0, 5], [4, 0]]


def test_names_of_any_letters_reach_the_figure_and_its_table(tmp_path, monkeypatch):
    names = [r"$\frac$ <script>alert(1)</script>", "a$b$c\r\x1b[31m\u202e", "=1+1"]
    monkeypatch.setitem(globals(), "NAMES", names)
    config = configuration(images="train")
    write_runs(tmp_path, config, "train")
    rows = studies.pictured(tmp_path, studies.make(config, "figure9", tmp_path), "figure9", width=900)
    assert rows["reference"].drop_duplicates().tolist() == [names[1], names[0]]
