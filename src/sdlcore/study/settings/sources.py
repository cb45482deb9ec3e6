"""Settings of sources of activations, by kind."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Self

import pydantic
from annotated_types import Ge, Le, MinLen
from pydantic import model_validator
from typing_extensions import TypeAliasType

from sdlcore.pipeline import (
    TRAINED_HERE,
    Batch,
    BenchSource,
    ClipSource,
    FileSource,
    LanguageSource,
    PluginSource,
    Positive,
    SaelensSource,
    SynthSource,
    Unique,
    source_gives,
)
from sdlcore.pipeline import ClassMeans as LibraryClassMeans
from sdlcore.pipeline import ClipTraining as LibraryClipTraining
from sdlcore.pipeline import Hierarchy as BenchHierarchy
from sdlcore.study.settings.fields import Identifier, Settings, left_out
from sdlcore.study.settings.runs import Run, with_extras

Shards = Annotated[int, Ge(1), Le(10**4)]
Checksum = TypeAliasType(
    "Checksum",
    Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}\Z", description="64 digits of a SHA-256, in lower case")],
)
Array = TypeAliasType(
    "Array",
    Annotated[
        str,
        pydantic.Field(
            pattern=r"^[^#]+\.(npy|npz|h5|hdf5|safetensors)(#.+)?\Z",
            description="the path of an .npy, .npz, .h5, .hdf5 or .safetensors file, with #key where it holds several "
            "arrays",
        ),
    ],
)


class Source(Settings):
    """What sources of all kinds have."""

    like: Identifier | None = left_out()
    """Another source of the same kind, all of whose settings this one takes, with its own laid over them."""
    run: Run = Run()
    """Settings of all runs on this source, over those of their protocols."""
    kind: ClassVar[str]
    """The key of `Sources` that sources of this kind stand under."""
    how_target: ClassVar[str]
    """How to give a source of this kind a second representation; {name} is replaced by its name."""

    def check_together(self) -> None:
        """Do nothing: the configuration reads `inconsistencies`, and names their keys."""

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that does not go with the others."""
        # the library's class, the last base, may define some
        inherited = getattr(super(), "inconsistencies", None)
        yield from () if inherited is None else inherited()

    @property
    def described(self) -> str:
        """A description of the samples."""
        raise NotImplementedError

    @property
    def taken_from(self) -> list[str]:
        """What others made that it is computed from or shows, as the configuration names it."""
        return []

    @property
    def has_target(self) -> bool:
        """Whether samples have a second representation."""
        return False

    @property
    def has_neighbours(self) -> bool:
        """Whether samples are tokens of documents, so that some are neighbours."""
        return False

    @property
    def is_labelled(self) -> bool:
        """Whether samples have classes, whose means are taken."""
        return False

    @property
    def is_streamed(self) -> bool:
        """Whether rows are made while a dictionary is trained, and never stored."""
        return False

    # these five follow from settings of these names, in kinds of sources that have them

    @property
    def n_features(self) -> int | None:
        """True features, drawn anew with the samples for each seed; None where features are not known."""
        return getattr(self, "n", None)

    @property
    def n_shards(self) -> int:
        """Parts that the training store is extracted in."""
        return getattr(self, "shards", 1)

    @property
    def rows(self) -> tuple[int | None, int | None]:
        """Samples for training and for evaluation; None where that is known only when they are read."""
        return getattr(self, "train_samples", None), getattr(self, "test_samples", None)

    @property
    def widths(self) -> tuple[int | None, int]:
        """Dimensions of input, None where not known yet, and of target, 0 for none or not known."""
        return getattr(self, "n_p", None), getattr(self, "n_r", None) or 0

    @property
    def rate(self) -> float | None:
        """Samples that a model makes in a second, as far as that is given."""
        return getattr(self, "samples_per_second", None)

    @property
    def bytes_of_number(self) -> int:
        """Bytes of a number in a store."""
        return 4


class Hierarchy(BenchHierarchy):
    """Parents and their children among the features (Definition 3.9), a parent being active iff a child of it is."""


class Bench(Source, BenchSource):
    """A variant of the Linear Representation Bench (Appendix C)."""

    hierarchy: Hierarchy | None = None

    kind = "bench"
    how_target = "set sources.bench.{name}.n_r"

    @property
    def described(self) -> str:
        symbols = {"n": self.n, "n_p": self.n_p, "n_r": self.n_r, "S": self.sparsity, "M": self.max_interference}
        said = [f"{symbol} = {value}" for symbol, value in symbols.items() if value is not None]
        return f"Linear Representation Bench, {', '.join(said)}"

    @property
    def has_target(self) -> bool:
        return self.n_r is not None


class Synth(Source, SynthSource):
    """A bench with the distribution of SynthSAEBench (docs/benches.md)."""

    kind = "synth"
    how_target = "samples of SynthSAEBench have none"

    @property
    def described(self) -> str:
        return f"SynthSAEBench's distribution, n = {self.n}, n_p = {self.n_p}"


class Saelens(Source, SaelensSource):
    """A synthetic model that SAELens saved, SynthSAEBench's for one (docs/benches.md)."""

    kind = "saelens"
    how_target = "synthetic models of SAELens have none"

    @property
    def described(self) -> str:
        return f"the synthetic model {self.model}, n = {self.n}, n_p = {self.n_p}"

    @property
    def taken_from(self) -> list[str]:
        return [self.model]


class ClassMeans(LibraryClassMeans):
    """Directions that dictionaries are judged against and anchored to (eq. 22 and 23)."""

    centred: bool | None = None  # type: ignore[assignment]  # null until the runs are known
    """Take the mean of all activations from those of the classes first: dictionaries of centred activations (normalise)
    do not see it. Null for whether any run on the source normalises or whitens."""


class ClipTraining(LibraryClipTraining):
    """How a CLIP is trained."""


class Clip(Source, ClipSource):
    """Embeddings of images by a CLIP model."""

    workers: Annotated[int, Ge(0), Le(10**3)] = 2
    """Processes that decode images, beside the one that runs the model; with 0, its own threads do. Not tracked."""
    shards: Shards = 1
    """Parts that the training store is extracted in, each a job of its own; 1 for one job that writes both stores."""
    training: ClipTraining = ClipTraining()
    """How the CLIP is trained, where pretrained is trained."""
    class_means: ClassMeans = ClassMeans()
    samples_per_second: Positive | None = None
    """Images that a machine like yours embeds in a second; lets a plan say how long it takes."""

    kind = "clip"
    how_target = "embeddings of images have none"

    @property
    def described(self) -> str:
        return f"embeddings of {self.model} ({self.pretrained}) of the images {self.images}"

    @property
    def taken_from(self) -> list[str]:
        return [self.images] if self.pretrained == TRAINED_HERE else [self.model, self.images]

    @property
    def is_labelled(self) -> bool:
        return True

    @property
    def bytes_of_number(self) -> int:
        return {"float16": 2, "float32": 4}[self.store_dtype]

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that does not go with the others."""
        yield from super().inconsistencies()
        rows, batch = self.images_taken[0], self.training.batch_size
        if self.pretrained == TRAINED_HERE and rows is not None and batch > rows:
            yield "training.batch_size", f"{batch} exceeds the source's {rows} train_samples"


class Language(Source, LanguageSource):
    """Activations of a language model; docs/language-models.md has examples of every kind of model and text."""

    model_sha256: Checksum | None = None
    text_sha256: Checksum | None = None
    n_p: Annotated[int, Ge(1), Le(10**6)] | None = None
    """Dimension of activations, where a plan should say what disk is needed before the model is there."""
    shards: Shards = 1
    """Parts that the training store is extracted in, each a job of its own, beside one for the evaluation store; 1 for
    one job that writes both."""
    stream: bool = False
    """Whether training rows are made while a dictionary is trained, for every run anew, and never stored; train_samples
    is then not read."""
    buffer_rows: Batch = 65536
    """Rows in memory that batches of a streamed source are drawn from; more mixes better."""
    each_layer: Annotated[list[Annotated[int, Ge(1), Le(1000)]], MinLen(1), Unique] | None = left_out()
    """Several blocks in place of layer: a source for each, called NAME_layer4 and so on. One pass of the model fills
    the stores of all."""
    one_pass: Identifier | None = left_out()
    """Sources of language models with the same name here are extracted by one pass of the model; they differ in layer,
    layers, site and target_site alone."""
    samples_per_second: Positive | None = None
    """Tokens that a machine like yours extracts in a second; lets a plan say how long it takes."""

    kind = "language"
    how_target = "set sources.language.{name}.layers, or its site to mlp"

    @property
    def described(self) -> str:
        return f"activations of {self.model} over {self.text}, layer {self.layer}"

    @property
    def taken_from(self) -> list[str]:
        return [self.model, self.text]

    @property
    def has_neighbours(self) -> bool:
        return True

    @property
    def has_target(self) -> bool:
        return "target" in self.sites

    @property
    def is_streamed(self) -> bool:
        return self.stream

    @property
    def bytes_of_number(self) -> int:
        return 2


class File(Source, FileSource):
    """Activations that lie in files."""

    input: Array
    target: Array | None = None
    labels: Array | None = None
    test_input: Array | None = None
    test_target: Array | None = None
    test_labels: Array | None = None
    class_means: ClassMeans = ClassMeans()

    kind = "file"
    how_target = "set sources.file.{name}.target"

    @property
    def described(self) -> str:
        return f"activations in {self.input}"

    @property
    def has_target(self) -> bool:
        return self.target is not None

    @property
    def is_labelled(self) -> bool:
        return self.labels is not None


class Plugin(Source, PluginSource):
    """Activations that a plugin gives."""

    class_means: ClassMeans = ClassMeans()

    kind = "plugin"
    how_target = "its plugin declares none; see docs/extending.md"

    @model_validator(mode="after")
    def _each_fits(self) -> Self:
        return with_extras(self, {}, ("source",))

    @property
    def described(self) -> str:
        return f"activations of the source {self.source}"

    @property
    def has_target(self) -> bool:
        return source_gives(self.source, "target")

    @property
    def is_labelled(self) -> bool:
        return source_gives(self.source, "labels")


class Sources(Settings):
    """Sources by kind and name."""

    bench: dict[Identifier, Bench] = {}
    """Variants of the Linear Representation Bench (Appendix C), drawn anew for each seed."""
    synth: dict[Identifier, Synth] = {}
    """Benches with the distribution of SynthSAEBench, drawn anew for each seed."""
    saelens: dict[Identifier, Saelens] = {}
    """Synthetic models that SAELens saved, sampled anew for each seed."""
    clip: dict[Identifier, Clip] = {}
    """Image embeddings of CLIP models, shared by all seeds."""
    language: dict[Identifier, Language] = {}
    """Activations of language models, shared by all seeds."""
    file: dict[Identifier, File] = {}
    """Activations that lie in files already, shared by all seeds."""
    plugin: dict[Identifier, Plugin] = {}
    """Activations that plugins give (docs/extending.md), shared by all seeds."""
