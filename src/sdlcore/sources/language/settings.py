"""Settings of a source of language model activations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdlcore.sources.language.corpus import TextOptions
from sdlcore.sources.language.forward import KINDS
from sdlcore.sources.language.sites import Site, sites_of
from sdlcore.storage.parsing import SourceError


@dataclass(frozen=True)
class LlamaSource:
    """Settings of one source; `config/schema/config.schema.yaml` describes the same keys.

    Attributes
    ----------
    model, text
        What the configuration calls the model and the text; kept as provenance.
    model_sha256, text_sha256
        Checksums of the wheels that they come from, if pinned; kept as provenance.
    revision, text_revision
        Commits, tags or branches at the hub; None for the newest. The commits found are kept as provenance.
    text_column, text_config, text_split, shuffle_buffer
        How the text is read (`TextOptions`).
    site
        residual: the stream after block ``layer``; mlp: what enters its MLP as input, what leaves it as target.
    layer
        A block, counted from 1.
    layers
        Two blocks instead of one: the residual stream after the first as input, after the second as target.
    context_length
        Tokens of one context.
    contexts_per_batch
        Contexts that run at once.
    train_samples, test_samples
        Rows of the two stores.
    drop
        Kinds of rows that are left out, out of `KINDS`.
    outlier_norm
        Outliers are rows with a norm above this multiple of the median.
    dtype
        Precision of the forward pass: float32 or bfloat16.
    """

    model: str
    text: str
    model_sha256: str | None = None
    revision: str | None = None
    text_sha256: str | None = None
    text_column: str = "text"
    text_config: str | None = None
    text_split: str = "train"
    text_revision: str | None = None
    shuffle_buffer: int = 10_000
    site: str = "residual"
    layer: int = 12
    layers: tuple[int, ...] | None = None
    context_length: int = 128
    contexts_per_batch: int = 16
    train_samples: int = 30000
    test_samples: int = 5000
    drop: tuple[str, ...] = KINDS[1:]
    outlier_norm: float = 10.0
    dtype: str = "float32"

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "LlamaSource":
        """Build from what JSON holds; settings left out take their defaults."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        return cls(**values)

    def __post_init__(self) -> None:
        ones = ("layer", "contexts_per_batch", "train_samples", "test_samples", "shuffle_buffer")
        for name, minimum in [("context_length", 2), *((name, 1) for name in ones)]:
            if getattr(self, name) < minimum:
                raise SourceError(f"{name} is {getattr(self, name)}, but must be at least {minimum}")
        if not self.outlier_norm > 1:
            raise SourceError(f"outlier_norm is {self.outlier_norm}, but must be above 1, the median itself")
        if self.dtype not in ("float32", "bfloat16"):
            raise SourceError(f"dtype is {self.dtype!r}, but must be float32 or bfloat16")
        if self.site not in ("residual", "mlp"):
            raise SourceError(f"site is {self.site!r}, but must be residual or mlp")
        if self.layers is not None and (len(set(self.layers)) != 2 or len(self.layers) != 2 or min(self.layers) < 1):
            raise SourceError(f"layers is {list(self.layers)}, but must be two different blocks, counted from 1")
        if self.layers is not None and self.site != "residual":
            raise SourceError(f"layers is set, which takes residual streams, but site is {self.site}; leave one out")
        if not set(self.drop) <= set(KINDS[1:]):
            raise SourceError(f"drop is {list(self.drop)}, but may only hold {', '.join(KINDS[1:])}")

    @property
    def sites(self) -> dict[str, Site]:
        """Where activations are taken, by the store's column: input and, where there are two, target."""
        first, second = sites_of(self.site, self.layer, self.layers)
        return {"input": first} if second is None else {"input": first, "target": second}

    @property
    def text_options(self) -> TextOptions:
        return TextOptions(self.text_column, self.text_config, self.text_split, self.text_revision, self.shuffle_buffer)
