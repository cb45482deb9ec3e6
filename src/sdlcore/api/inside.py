"""Dictionaries inside models: read, steer and ablate latents."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from sdlcore.api.dictionary import Dictionary
from sdlcore.api.dictionary_arguments import coder_of
from sdlcore.api.fitted_place import fitted_place
from sdlcore.data.inputs import activations
from sdlcore.data.reading import ActivationStore
from sdlcore.extraction.architectures import Paths, read_paths
from sdlcore.extraction.places import described, located
from sdlcore.inside.edits import Edit, ablate
from sdlcore.inside.hooks import Place
from sdlcore.inside.pages import Pages
from sdlcore.inside.pages import contexts as contexts_of
from sdlcore.inside.reader import ReadingOptions, loaded
from sdlcore.inside.splicing import splice as splice_coder
from sdlcore.model.coder import SparseCoder
from sdlcore.storage.paths import user_path
from sdlcore.user_warnings import warn_at_call

if TYPE_CHECKING:
    from sdlcore.inside.images import ImagePages

Layer = int | str | tuple[int | str, ...]
"""A block, counted from 1; or a name of its place, blocks.11.hook_resid_post or model.layers.11; or several."""


def splice(
    lm: Any,
    layer: Layer | None = None,
    dictionary: Dictionary | SparseCoder | None = None,
    edit: Edit | None = None,
    *,
    place: Place | None = None,
    keep_error: bool | None = None,
    first_position: bool = False,
    paths: Paths | Mapping[str, str] | None = None,
) -> AbstractContextManager[Any]:
    """Run a language model with a dictionary in it: ``with sdl.splice(lm, 12, sae, sdl.steer(724, by=25.0)): ...``.

    Inside the block, every pass of the model goes through the dictionary, including the passes of ``lm.generate`` with
    their cache. The end of the block, or an exception in it, restores the model. Splices at several layers nest. The
    ``with`` statement gives the model: ``with sdl.splice("models/my-llama.gguf", 12, sae) as lm: ...``.

    Parameters
    ----------
    lm
        A decoder-only transformers model, or its name, as in `extract`. A named model is loaded to the dictionary's
        device; ``AutoTokenizer.from_pretrained(lm.name_or_path)`` loads its tokenizer.
    layer
        Block, counted from 1, or a name of its place: ``blocks.11.hook_resid_post`` (TransformerLens) and
        ``model.layers.11`` (transformers) are layer 12. Two of them for a transcoder between residual streams. None for
        the layer in the dictionary's provenance, which `fit` and the pipeline record for a language model's store. A
        layer or place that differs from the recorded one brings a warning.
    dictionary
        An autoencoder or transcoder.
    edit
        `steer`, `ablate`, or a function from latents (N x n_q) to latents; None puts the reconstruction in.
    place
        A site for an autoencoder, as for `extract`; None for residual.
    keep_error
        True adds the change of the reconstruction, (edited - latents) @ W_dec, to the activations. The reconstruction
        error stays in them, and steering adds ``by`` decoder rows. False replaces the activations by the reconstruction
        from the edited latents. None follows common practice: True with an edit, False without.
    first_position
        Change the first token of a context, too. By default it stays unchanged. Its activations are an attention sink,
        a hundred times as large as others, and dictionaries are not trained on them.
    paths
        Where the modules of an unknown architecture are (`sdlcore.extraction.architectures.Paths`).

    Raises
    ------
    ValueError
        If the layer or a latent does not exist, widths differ, the dictionary is a crosscoder or in training mode, an
        edit is not a function or returns another shape, or no layer is given and the provenance has none.
    SourceError
        In a pass of the model that does not reach the place.
    """
    if not isinstance(dictionary, Dictionary | SparseCoder):
        raise ValueError(f"dictionary is a {type(dictionary).__name__}; call splice(lm, layer, dictionary)")
    if isinstance(lm, str | Path):
        lm, _ = loaded(lm, None, coder_of(dictionary).W_enc.device)
    return splice_coder(
        lm,
        coder=coder_of(dictionary),
        edit=edit,
        keep_error=keep_error,
        first_position=first_position,
        paths=read_paths(paths),
        **where_in(dictionary, layer, place),
    )


class ContextOptions(ReadingOptions, total=False):
    """The options of `contexts`."""

    number: int
    width: int
    tokens: int | None


def contexts(
    dictionary: Dictionary | SparseCoder,
    lm: Any,
    texts: str | Path | Iterable[str],
    latents: int | Iterable[int] | None = None,
    *,
    layer: Layer | None = None,
    place: Place | None = None,
    paths: Paths | Mapping[str, str] | None = None,
    **options: Unpack[ContextOptions],
) -> Pages:
    """Return feature pages: the contexts in texts where latents are most active, their logits and nearest latents.

    Parameters
    ----------
    dictionary
        The dictionary.
    lm
        A transformers model, or its name, as in `extract`.
    texts
        As of `extract`.
    latents
        Which one, or several; None for 20 that are active in the first 10,000 tokens, from the most to the least
        frequent.
    layer, place
        Where the dictionary was fitted, as for `splice`.
    paths
        As for `splice`.
    **options
        ``number``: contexts of each latent (20). ``width``: tokens on either side of the most active one (24).
        ``tokens``: tokens to read from the beginning of the text (200,000), rounded up to whole contexts; None for all.
        ``tokenizer``: None loads the model's own. ``context_length``: tokens that the model reads at once; None for
        128, or the model's maximum if it is lower. ``contexts_per_batch``: contexts in one pass of the model (16).
        ``bos``: whether contexts begin with the bos token; None if the tokenizer begins texts with it. ``drop``: kinds
        of tokens to leave out (first_position, separator, outlier). ``text_options``: how to read a file, such as
        ``{"column": "body"}``. ``progress``: show a bar.

    Raises
    ------
    ValueError
        If a latent, layer or place does not exist, no latent is active, widths differ, contexts are longer than the
        model allows, there is no text, or no layer is given and the provenance has none.
    SourceError
        If a text or a model cannot be read.
    """
    where = where_in(dictionary, layer, place)
    several = None if latents is None else list(ablate(latents).latents)
    return contexts_of(coder_of(dictionary), lm, texts, several, paths=read_paths(paths), **where, **options)


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
) -> "ImagePages":
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
        Which one, or several; None for 20 active ones, from the most to the least frequent.
    model
        The model that the store was extracted from, or its name, as for `extract`. Only its preprocessing is used, so
        that pictures show what the model saw, and the heat map covers it exactly. Stores of the pipeline record the
        preprocessing of open_clip. Without patches, None shows whole images.
    processor
        The preprocessing itself, if it was given to `extract`.
    folder
        Folder of the images; None for the folder in the store's provenance.
    number
        Images of each latent with the largest activations. Up to six examples follow from each lower fifth.
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
    from sdlcore.inside.images import pages_of_images, preprocessing  # imported here, since it needs Pillow

    several = None if latents is None else list(ablate(latents).latents)
    with activations(x) as store:
        if not isinstance(store, ActivationStore):
            raise ValueError(f"x is a {type(x).__name__}, expected a store of images, as sdl.extract writes it")
        transform = preprocessing(store, model, processor)
        root = user_path(folder, "folder") if folder else Path(str(store.provenance.get("image_folder", ".")))
        return pages_of_images(coder_of(dictionary), store, several, transform, root, number, progress)


def layer_of(dictionary: Dictionary | SparseCoder) -> Layer | None:
    """Return the layer of a language model at which a dictionary was fitted; None if its provenance contains none."""
    fit_location = _fit_location(dictionary)
    return None if fit_location is None else fit_location["layer"]


def _fit_location(dictionary: Dictionary | SparseCoder) -> dict[str, Any] | None:
    """Return layer and place at which a dictionary was fitted; None if its provenance contains none."""
    provenance = dictionary.provenance if isinstance(dictionary, Dictionary) else {}
    return fitted_place(provenance, coder_of(dictionary).config.pair)


def where_in(dictionary: Dictionary | SparseCoder, layer: Layer | None, place: Place | None) -> dict[str, Any]:
    """Return layer and place at which a dictionary is put into a language model.

    It warns if the dictionary was fitted at another place.
    """
    layer, place = located(layer, place)
    fit_location = _fit_location(dictionary)
    if fit_location is None and layer is None:
        raise ValueError("layer is missing: the block, counted from 1, whose activations the dictionary was fitted on")
    if fit_location is None:
        return {"layer": layer, "place": place}
    if layer is None:
        return fit_location if place is None else {**fit_location, "place": place}
    location = {"layer": layer, "place": place}
    pair = coder_of(dictionary).config.pair
    place = place or ("residual" if pair == "sae" else fit_location["place"])
    if (layer, place) != (fit_location["layer"], fit_location["place"]):
        fit_place, new_place = described(**fit_location, pair=pair), described(layer, place, pair)
        warn_at_call(f"the dictionary was fitted at {fit_place}, and is put at {new_place}")
    return location
