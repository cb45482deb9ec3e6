"""Settings of sources of activations, by kind."""

from typing import Annotated, Any, ClassVar

import pydantic
from annotated_types import Ge, Le
from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import TypeAliasType

from offline.settings import OfflineClip
from offline.wheels import wheel_path
from sdlcore.benches.config import BenchSource, SaelensSource, SynthSource
from sdlcore.extraction.config import LanguageSource
from sdlcore.settings import BatchSize, Positive, Total
from sdlcore.sources.files.settings import FileSource
from sdlcore.sources.plugins.settings import PluginSource, source_gives
from sdlstudy.settings.fields import Identifier, Settings, left_out
from sdlstudy.settings.runs import Run

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
            description="the path of an .npy, .npz, .h5, .hdf5 or .safetensors file, with #key if the file contains "
            "several arrays; convert other files, such as .pt, by np.save",
        ),
    ],
)


class Source(Settings):
    """Settings and properties of all kinds of sources."""

    like: Identifier | None = left_out()
    """Another source of the same kind to inherit from. This source overrides inherited settings with its own."""
    run: Run = {}
    """Settings for all runs on this source. They override settings in protocols."""
    kind: ClassVar[str]
    """The key of `Sources` for this kind of source."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Require no setting of a source that copies another one by ``like``."""
        schema = handler.resolve_ref_schema(handler(core))
        if required := schema.pop("required", None):
            schema |= {"if": {"not": {"required": ["like"]}}, "then": {"required": required}}
        return schema

    def check_together(self) -> None:
        for key, problem in getattr(self, "inconsistencies", tuple)():  # of the library's class, the last base
            raise ValueError(f"{key}: {problem}")
        super().check_together()

    def declared(self, name: str, default: Any = None) -> Any:
        """Return a setting that only some kinds of sources declare, or a default. A plugin's own settings differ."""
        return getattr(self, name) if name in type(self).model_fields else default

    @property
    def n_sites(self) -> int:
        """Number of representations of each sample: the input, and one or more targets."""
        return 1 + any(self.declared(target) is not None for target in ("n_r", "target"))

    @property
    def is_labelled(self) -> bool:
        """Whether samples have classes, so that class means exist."""
        return self.declared("labels") is not None

    @property
    def is_streamed(self) -> bool:
        """Whether rows are made during each training, without being stored."""
        return bool(self.declared("stream"))

    @property
    def n_features(self) -> int | None:
        """Number of true features, None if they are unknown. If they are known, each seed draws samples of its own."""
        return self.declared("n")

    @property
    def n_shards(self) -> int:
        """Number of jobs that extract the training store."""
        return self.declared("shards", 1)

    @property
    def rows(self) -> tuple[int | None, int | None]:
        """Samples for training and for evaluation; None if unknown until they are read."""
        return self.declared("train_samples"), self.declared("test_samples")

    @property
    def widths(self) -> tuple[int | None, int]:
        """Dimension of site 0, None if not known yet, and of all further sites together, 0 if there are none or it is
        unknown."""
        n_p = self.declared("n_p")
        return n_p, self.declared("n_r") or (n_p or 0) * (self.n_sites - 1)


class Bench(Source, BenchSource):
    """A variant of the Linear Representation Bench (Appendix C)."""

    kind = "bench"


class Synth(Source, SynthSource):
    """A bench with the distribution of SynthSAEBench (docs/benches.md)."""

    stream: bool = False
    """Draw training samples during each training, without storing them. No sample repeats; train_samples is then not
    used."""

    kind = "synth"


class Saelens(Source, SaelensSource):
    """A synthetic model that SAELens saved, such as SynthSAEBench's (docs/benches.md)."""

    kind = "saelens"


class ClassMeans(Settings):
    """Directions that dictionaries are evaluated against and anchored to (eq. 22 and 23)."""

    centred: bool | None = None
    """Subtract the mean of all activations from the class means. Dictionaries of centred activations (normalise) do not
    see that mean. If null, class means are centred if any run on the source normalises or whitens."""
    min_class_size: Total = 10
    """Classes with fewer training samples are left out."""


class Clip(Source, OfflineClip):
    """Embeddings of images by a CLIP model."""

    workers: Annotated[int, Ge(0), Le(10**3)] = 2
    """Processes that decode images, beside the model's own process. 0: threads of that process decode. Not tracked."""
    shards: Shards = 1
    """Number of jobs that extract the training store. If it is 1, one job writes both stores."""
    class_means: ClassMeans = ClassMeans()
    samples_per_second: Positive | None = None
    """Images that your machine embeds in a second. A plan then estimates the time."""

    kind = "clip"

    @property
    def is_labelled(self) -> bool:
        return True


class Language(Source, LanguageSource):
    """Activations of a language model; docs/language-models.md has examples of every kind of model and text."""

    model_sha256: Checksum | None = None
    text_sha256: Checksum | None = None
    n_p: Annotated[int, Ge(1), Le(10**6)] | None = None
    """Dimension of activations. Set it for a plan of disk space before the model is downloaded."""
    shards: Shards = 1
    """Number of jobs that extract the training store; another job extracts the evaluation store. If it is 1, one job
    writes both stores."""
    stream: bool = False
    """Make training rows during each training, anew for every run, without storing them. train_samples is then not
    used."""
    buffer_rows: BatchSize = 65536
    """Rows of a streamed source in memory; batches are drawn from them. More rows mix better."""
    samples_per_second: Positive | None = None
    """Tokens that your machine extracts in a second. A plan then estimates the time."""

    kind = "language"

    @property
    def files(self) -> list[str]:
        """Local files and folders of the user, without downloads from the hub or wheels."""
        return [reference for reference in super().files if wheel_path(reference) is None]

    def text_in(self, cache: str) -> str:
        """Return the file or folder of the text, below the folder ``cache`` if it is from a wheel; or its name at the
        hub."""
        inside = wheel_path(self.text)
        return self.text if inside is None else f"{cache}/wheels/{inside}"

    @property
    def n_sites(self) -> int:
        return len(self.sites)


class File(Source, FileSource):
    """Activations from files."""

    input: Array
    target: Array | None = None
    labels: Array | None = None
    test_input: Array | None = None
    test_target: Array | None = None
    test_labels: Array | None = None
    class_means: ClassMeans = ClassMeans()

    kind = "file"


class Plugin(Source, PluginSource):
    """Activations from a plugin."""

    class_means: ClassMeans = ClassMeans()

    kind = "plugin"

    @property
    def n_sites(self) -> int:
        return 1 + source_gives(self.source, "target")

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
    """Activations from files, shared by all seeds."""
    plugin: dict[Identifier, Plugin] = {}
    """Activations from plugins (docs/extending.md), shared by all seeds."""
