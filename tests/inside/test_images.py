"""Pages of latents on images, from a small ViT over pictures made here."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms
from transformers import ViTConfig, ViTModel

import sdlcore as sdl
from sdlcore.commands.main import main
from sdlcore.errors import SourceError
from sdlcore.inside.features import Pages
from sdlcore.inside.images import picture_seen

SEEN = transforms.Compose(
    [
        *(transforms.Resize(32), transforms.CenterCrop(32), transforms.ToTensor()),
        transforms.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]),
    ]
)
PATCHES = 16
LATENTS = [3, 0, 7]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten wide pictures of two classes, each with a bright square at a place of its own."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 90, (32, 48, 3), dtype=np.uint8)
        pixels[8 * (number % 4) :][:8, 8 + 8 * (number // 4) :][:, :8] = (250, 30, 200)
        path = root / ("left", "right")[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8)).eval()


def extract(vit: nn.Module, folder: Path, out: Path, **call: Any) -> Path:
    sdl.extract(vit, folder, at="embeddings", out=out, processor=SEEN, progress=False, **call).close()
    return out


@pytest.fixture(scope="module")
def store(vit: nn.Module, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(vit, folder, tmp_path_factory.mktemp("store") / "vit.h5", tokens="patches")


@pytest.fixture(scope="module")
def sae(store: Path) -> sdl.Dictionary:
    return sdl.fit(store, activation="topk", k=3, n_q=24, steps=60, batch_size=64, seed=0, progress=False)


@pytest.fixture(scope="module")
def pages(sae: sdl.Dictionary, store: Path) -> Pages:
    return sdl.top_images(sae, store, LATENTS, processor=SEEN, number=4, progress=False)


def test_images_are_those_with_the_largest_activations_and_heat_is_that_of_each_patch(
    sae: sdl.Dictionary, store: Path, pages: Pages
):
    codes = sae.encode(store, sparse=True).toarray().reshape(10, PATCHES, 24)
    with sdl.ActivationStore(store) as opened:
        paths = opened.read("path")[::PATCHES].tolist()
    assert (pages.rows, pages.units) == (10 * PATCHES, "patches")
    assert [feature.latent for feature in pages.features] == LATENTS
    for feature in pages.features:
        of_latent = codes[:, :, feature.latent]
        largest = of_latent.max(axis=1)
        order = [image for image in np.argsort(-largest, kind="stable") if largest[image] > 0]
        assert feature.density == pytest.approx((of_latent > 0).mean())
        assert [example.path for example in feature.contexts] == [paths[image] for image in order[:4]]
        shown = [*feature.contexts, *(example for part in feature.intervals for example in part.contexts)]
        for example in shown:
            image = paths.index(example.path)
            np.testing.assert_allclose(example.heat.ravel(), of_latent[image], rtol=1e-5)
            assert example.heat.shape == (4, 4)
            assert example.heat.flat[example.patch] == pytest.approx(example.activation)
            assert example.class_name == example.path.partition("/")[0]
        for part in feature.intervals:
            assert all(part.low < example.activation <= part.high for example in part.contexts)


def test_a_picture_is_the_part_that_the_model_sees(folder: Path):
    picture = Image.open(folder / "left/0.png").convert("RGB")
    assert np.array_equal(np.asarray(picture_seen(picture, SEEN)), np.asarray(picture.crop((8, 0, 40, 32))))


class Images(HTMLParser):
    """Collects the pictures of a page, and every address in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: dict[str, list[Image.Image]] = {"heat": [], "": []}
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            content = base64.b64decode((values["src"] or "").partition("base64,")[2])
            self.pictures[values.get("class") or ""].append(Image.open(io.BytesIO(content)))


def test_one_file_has_all_pictures_and_nothing_from_elsewhere(pages: Pages, tmp_path: Path):
    with pytest.raises(ValueError, match="these pages show images, and Neuronpedia shows tokens"):
        pages.to_neuronpedia("vit", "sdl")
    path = pages.to_html(tmp_path / "latents.html")
    text = path.read_text()
    page = Images(text)
    assert all(address.startswith(("data:image/", "#latent-")) for address in page.addresses)
    assert re.findall(r'id="latent-(\d+)"', text) == [str(latent) for latent in LATENTS]
    shown = [
        (feature, example)
        for feature in pages.features
        for several in (feature.contexts, *(part.contexts for part in feature.intervals))
        for example in several
    ]
    assert len(page.pictures["heat"]) == len(shown)
    for image, (feature, example) in zip(page.pictures["heat"], shown, strict=True):
        opacity = np.asarray(image)[:, :, 3] / 255
        np.testing.assert_allclose(opacity, 0.75 * example.heat / feature.largest, atol=0.003)
    assert "patches" in text
    assert "tokens" not in text.partition("</style>")[2]
    assert "latent 3: active at" in str(pages)
    assert 'class="sdl"' in pages._repr_html_()


def test_the_title_counts_images_that_could_not_be_read(sae, vit: nn.Module, folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "some")
    (tmp_path / "some/left/broken.png").write_text("no picture")
    store = extract(vit, tmp_path / "some", tmp_path / "some.h5", tokens="patches", max_unreadable=0.1)
    pages = sdl.top_images(sae, store, LATENTS, processor=SEEN, number=1, progress=False)
    assert pages.title == "some.h5, without 1 unreadable image"


def test_whole_images_need_no_preprocessing(vit: nn.Module, folder: Path, tmp_path: Path):
    store = extract(vit, folder, tmp_path / "cls.h5", tokens="mean")
    sae = sdl.fit(store, activation="topk", k=2, n_q=8, steps=5, batch_size=8, progress=False)
    pages = sdl.top_images(sae, store, progress=False)
    assert pages.units == "images"
    example = next(example for feature in pages.features for example in feature.contexts)
    assert example.heat is None
    assert example.picture.size == (48, 32)
    assert not Images(pages.to_html(tmp_path / "a.html").read_text()).pictures["heat"]


def test_the_command_writes_the_page(
    sae: sdl.Dictionary, store: Path, vit: nn.Module, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sdlcore.inside.images.load_vision", lambda name: {"timm:tiny": vit}[name])
    monkeypatch.setattr("sdlcore.inside.images.transform_of", lambda model: SEEN)
    sae.save(tmp_path / "sae.safetensors")
    call = [
        "top-images",
        str(tmp_path / "sae.safetensors"),
        "--x",
        str(store),
        "--latents",
        "3",
        "--model",
        "timm:tiny",
    ]
    main([*call, "--out", str(tmp_path / "page.html")])
    assert Images((tmp_path / "page.html").read_text()).pictures["heat"]


def test_refusals(sae: sdl.Dictionary, store: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="model and processor are missing; without a preprocessing"):
        sdl.top_images(sae, store, progress=False)
    with pytest.raises(SourceError, match=r"no such file; give the folder that the store was extracted from"):
        sdl.top_images(sae, store, LATENTS, processor=SEEN, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="latent must be between 0 and 23, found 24"):
        sdl.top_images(sae, store, [24], processor=SEEN, progress=False)
    signed = sdl.SparseCoder(sae.coder.W_enc.shape[1], n_q=24, activation="abstopk", k=3).eval()
    with pytest.raises(ValueError, match="is defined for non-negative latents"):
        sdl.top_images(signed, store, LATENTS, processor=SEEN, progress=False)
    sdl.extract(nn.Linear(4, 4), [torch.randn(8, 4)], at="", out=tmp_path / "no.h5", progress=False).close()
    with pytest.raises(SourceError, match="has no paths of images"):
        sdl.top_images(sae, tmp_path / "no.h5", progress=False)
