"""Pages of latents on images: the top images of each latent, with its activation at every patch as a heat map."""

import base64
import io
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from sdlcore.data.conversion import activations
from sdlcore.data.reading import ActivationStore
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import coder_of
from sdlcore.errors import SourceError
from sdlcore.extraction.images import Transform, open_picture, transform_of
from sdlcore.extraction.models import load_vision
from sdlcore.extras import extra
from sdlcore.inside.features import SHOWN, Pages, codes_of_store, features_of, latents_to_show
from sdlcore.inside.splice import latent_numbers
from sdlcore.model.activation import refuse_signed
from sdlcore.model.coder import SparseCoder
from sdlcore.storage.files import user_path

with extra("clip"):
    from PIL import Image

SIDE, THUMBNAIL = 160, 48
"""Largest sides of a picture in a page and in its table, in pixels."""
IN_INTERVAL = 6
"""Number of examples from each lower fifth of a latent's range."""
HEAT = (236, 112, 0)
"""Colour of the heat map; its opacity is the activation as a share of the latent's largest, times `OPACITY`."""
OPACITY = 0.75


class ImageExample(NamedTuple):
    """An image that activates a latent."""

    activation: float
    """The largest activation at a row of the image."""
    path: str
    """Path of the image, relative to the folder."""
    class_name: str | None
    patch: int | None
    """Index of the most active patch; None if each image is one row of the store."""
    heat: np.ndarray | None
    """H x W: activation at each patch of the picture, as far as the store contains them."""
    picture: Image.Image
    """The part of the image that the model sees; the whole image if each image is one row of the store."""

    @property
    def brief(self) -> str:
        """Path and patch as text."""
        return self.path if self.patch is None else f"{self.path}  patch {self.patch}"

    @property
    def picture_uri(self) -> str:
        """The picture as a data URI."""
        return _uri(self.picture, "JPEG")

    @property
    def thumbnail_uri(self) -> str:
        """The picture as a data URI, smaller."""
        small = self.picture.copy()
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        return _uri(small, "JPEG")

    def heat_uri(self, largest: float) -> str | None:
        """Return the heat map as a data URI, with a pixel for each patch; ``largest`` has the full opacity."""
        if self.heat is None:
            return None
        opacity = 255 * OPACITY * np.clip(self.heat / largest, 0, 1)
        layers = [np.full_like(opacity, colour) for colour in HEAT]
        return _uri(Image.fromarray(np.stack([*layers, opacity], axis=-1).round().astype(np.uint8)), "PNG")


class ImageRows:
    """The images of a store, and the rows of each.

    ``within`` is the reference for the index of a row in its image, patch or position; None if the store has a row for
    each image. ``index`` is this index of each row, and ``image`` the number of its image. ``patches`` is the largest
    number of rows of an image.
    """

    def __init__(self, store: ActivationStore) -> None:
        if not store.has("references/path"):
            raise SourceError(
                f"{store.path}: has no paths of images; expected a store that sdl.extract made from images"
            )
        self.within = next((name for name in ("patch", "position") if store.has(f"references/{name}")), None)
        self.index = np.zeros(store.rows, np.int64) if self.within is None else store.read(f"references/{self.within}")
        self.image = np.cumsum(self.index == 0) - 1
        self.patches = int(self.index.max(initial=0)) + 1


def heat_map(activations: np.ndarray, picture: Image.Image) -> np.ndarray:
    """Arrange a latent's activations at the P patches of a picture as the grid that covers it, H x W."""
    height = max(1, round((len(activations) * picture.height / picture.width) ** 0.5))
    if len(activations) % height:
        raise ValueError(f"{len(activations)} patches are no grid over {picture.width} x {picture.height} pixels")
    return activations.reshape(height, -1)


def preprocessing(store: ActivationStore, model: Any, processor: Any) -> Transform | None:
    """Return the preprocessing of images, from a model, a processor or their store; None if it is unknown."""
    if isinstance(model, str | Path):
        return transform_of(load_vision(str(model)))
    if model is not None or processor is not None:
        return transform_of(model, processor)
    recorded = store.provenance.get("preprocessing")
    return transform_of(SimpleNamespace(preprocess_cfg=recorded)) if isinstance(recorded, Mapping) else None


def picture_seen(picture: Image.Image, transform: Transform) -> Image.Image:
    """Return the part of a picture that a model sees: its preprocessing, with the normalisation of colours undone.

    Preprocessing scales each colour by an affine function, which a black and a white picture show.
    """
    black, white, pixels = (
        transform(each)
        for each in (Image.new("RGB", picture.size, "black"), Image.new("RGB", picture.size, "white"), picture)
    )
    share = ((pixels - black) / (white - black)).nan_to_num().clamp(0, 1)
    return Image.fromarray((255 * share).round().byte().permute(1, 2, 0).numpy())


def read_picture(path: Path, transform: Transform | None) -> Image.Image:
    """Return the part of an image file that a model sees; all of it without a transform. SourceError without a file."""
    if not path.is_file():
        raise SourceError(f"{path}: no such file; give the folder that the store was extracted from as folder")
    picture = open_picture(path)
    return picture if transform is None else picture_seen(picture, transform)


def _uri(picture: Image.Image, form: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def top_images(
    dictionary: Dictionary | SparseCoder,
    x: ActivationStore | str | Path,
    latents: int | Iterable[int] | None = None,
    *,
    model: Any = None,
    processor: Any = None,
    folder: str | Path | None = None,
    number: int = 12,
    progress: bool = True,
) -> Pages:
    """Return the images where latents are most active, with a heat map of the activation over their patches.

    ``sdl.top_images(sae, "vit.h5", [3, 17], model=vit).to_html("latents.html")`` writes one file that opens in a
    browser. An image counts by its most active patch, and appears once for a latent.

    Parameters
    ----------
    dictionary
        The dictionary.
    x
        A store that `extract`, or a source of images of the pipeline, made from images; or its path.
    latents
        Number of a latent, or several numbers. None for 20 active latents, from the most to the least frequent.
    model
        The model that the store was extracted from, or its name, as for `extract`. Only its preprocessing is used, so
        that pictures show the part that the model saw, and the heat map covers it exactly. Stores of the pipeline
        record the preprocessing of open_clip. Without patches, None shows whole images.
    processor
        The preprocessing itself, if it was given to `extract`.
    folder
        Folder of the images; None for the folder in the store's provenance.
    number
        Number of images with the largest activations of each latent. Up to six follow from each lower fifth of the
        latent's range.
    progress
        Show a bar.

    Raises
    ------
    ValueError
        If a latent does not exist, latents may be negative, widths differ, or the store has patches and the
        preprocessing is unknown.
    SourceError
        If the store does not come from images, or an image is missing.
    """
    coder = coder_of(dictionary)
    several = None if latents is None else latent_numbers(latents, coder.config.n_q)
    refuse_signed(coder.sigma, "the ranking of images by a latent")
    with activations(x) as store:
        if not isinstance(store, ActivationStore):
            raise ValueError(f"x is a {type(x).__name__}, expected a store of images, as sdl.extract writes it")
        transform, images = preprocessing(store, model, processor), ImageRows(store)
        if images.within == "patch" and transform is None:
            raise ValueError(
                "model and processor are missing; without a preprocessing, the place of a patch in its image is unknown"
            )
        root = user_path(folder, "folder") if folder else Path(str(store.provenance.get("image_folder", ".")))
        if several is None:
            several = latents_to_show(codes_of_store(coder, store), SHOWN)
        parts = [codes[:, several] for codes in codes_of_store(coder, store, progress)]
        codes = scipy.sparse.vstack(parts, format="csc")
        codes.eliminate_zeros()
        codes.sort_indices()
        features = features_of(coder, several, codes, images.image, store.rows, number, IN_INTERVAL, once=True)
        for column, feature in enumerate(features):
            values = codes[:, [column]].toarray()[:, 0]
            features[column] = feature.map_contexts(
                partial(_example, store=store, images=images, values=values, transform=transform, folder=root)
            )
        units = {"patch": "patches", "position": "tokens", None: "images"}[images.within]
        skipped: Any = store.provenance.get("skipped") or []
        without = f", without {len(skipped)} unreadable image{'s' if len(skipped) > 1 else ''}" if skipped else ""
        return Pages(Path(store.path).name + without, coder.config.n_q, store.rows, features, units, pictured=True)


def _example(
    row: int, store: ActivationStore, images: ImageRows, values: np.ndarray, transform: Transform | None, folder: Path
) -> ImageExample:
    """Return the image of a row, from a latent's activations at all N rows."""
    path = str(store.read("references/path", row, row + 1)[0])
    picture = read_picture(folder / path, transform)
    patch = heat = class_name = None
    if images.within == "patch":
        rows = slice(*np.searchsorted(images.image, images.image[row] + np.arange(2)))
        at_patches = np.zeros(images.patches)
        at_patches[images.index[rows]] = values[rows]
        patch, heat = int(images.index[row]), heat_map(at_patches, picture)
    class_names = store.class_names()
    if class_names and (label := int(store.read("labels", row, row + 1)[0])) >= 0:
        class_name = class_names[label]
    picture.thumbnail((SIDE, SIDE))
    return ImageExample(float(values[row]), path, class_name, patch, heat, picture)
