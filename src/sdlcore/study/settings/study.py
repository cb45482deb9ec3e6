"""The part of a configuration that all tables and figures share: sources, methods, protocols, anchorings, seeds."""

from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, Lt, MinLen

from sdlcore.pipeline import LAMBDA_ANCHOR, MIN_COSINE, AnchorForm, Positive, Split, Text
from sdlcore.study.settings.fields import AnchoringName, AsGiven, Identifier, Seeds, Settings, Unique, left_out
from sdlcore.study.settings.runs import HOLDING, Method, Protocol
from sdlcore.study.settings.sources import Bench, Clip, Language, Source, Sources


class Discover(Settings):
    """Directions that a solver finds in both halves of the training data."""

    method: Identifier
    """A method that is a solver: with pair sae for directions of the input, with pair crosscoder for those of input and
    target."""
    min_cosine: Annotated[float, Gt(0), Le(1), AsGiven] = MIN_COSINE
    """How near what it finds in one half must be to what it finds in the other."""


class Anchoring(Settings):
    """A way of anchoring (section 4)."""

    n_anchors: Annotated[float, Gt(0), Le(10**8), AsGiven] | None
    """Number of anchors, or, below 1, the share of the classes or features that are given away, one at least; of
    discovered ones those of most energy, null for all that are stable."""
    lambda_anchor: Positive = LAMBDA_ANCHOR
    """Weight of eq. (25); of no meaning with anchor_cosine, which chooses it."""
    anchor_form: AnchorForm | None = left_out()
    """frobenius: squared distance from rows to unit anchors (eq. 25), the default; matched: to anchors of the row's own
    norm; cosine: 1 - cosine."""
    anchor_until: Annotated[float, Gt(0), Le(1), AsGiven] | None = left_out()
    """Share of the steps after which anchors are released; null for never."""
    anchor_fall: Annotated[float, Gt(0), Le(1), AsGiven] | None = left_out()
    """Share of the steps, the last that have anchors, over which their weight falls linearly to zero; null for none."""
    anchor_cosine: Annotated[float, Gt(0), Lt(1), AsGiven] | None = left_out()
    """Choose lambda_anchor for each run by trial trainings: the smallest of a grid with which anchored decoder columns
    come this near to their anchors (docs/anchors.md). Sees neither features nor classes."""
    features: Literal["parents"] | None = left_out()
    """Which features of a bench anchors are drawn from: the parents of its hierarchy; null for all."""
    discover: Discover | None = left_out()
    """Take directions that a solver finds in both halves of the training data, instead of true features or means of
    classes (docs/anchors.md)."""

    @property
    def of_runs(self) -> dict[str, Any]:
        """Return the settings of a run that its anchoring gives."""
        weight = {} if self.anchor_cosine else {"lambda_anchor": self.lambda_anchor}
        return weight | {name: getattr(self, name) for name in HOLDING if getattr(self, name) is not None}


class Study(Settings):
    """A configuration without its tables and figures."""

    name: Identifier
    """Results go to results/<name>, logs to logs/<name>."""
    seeds: Seeds
    """A seed redraws matrices, samples, initialisation, order and anchors, each from a stream of its own."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. auto takes a GPU where torch sees one. Not tracked, a change retrains nothing."""
    processes: Annotated[int, Ge(1), Le(1000)] = 1
    """Processes that train each dictionary together, on GPUs each on one of its own. Not tracked, a change retrains
    nothing."""
    split: Split = "samples"
    """What these processes divide among them: the samples of each batch (data parallel), or the latents of a dictionary
    (tensor parallel) that is too large for one GPU. Not tracked."""
    tensorboard: bool = True
    """Write the history of each run as TensorBoard event files too, into tensorboard/ beside the model. Not tracked."""
    wandb: Text | None = None
    """Project of Weights & Biases that the history of each run is sent to; null for none. Needs the package wandb. Not
    tracked."""
    cache: Text = "cache"
    """Folder for what is downloaded once (wheels, models), relative to the working directory or absolute."""
    peers_python: Text = "benchmarks/.venv/bin/python"
    """Interpreter that has other libraries (docs/peers.md), relative to the checkout or absolute; without --use-conda,
    runs of methods with peer take it. Not tracked."""
    plugins: Annotated[list[Text], Unique] = []
    """Modules with activations, loss terms, solvers, metrics and sources of your own (docs/extending.md): names of
    modules beside this file, in the working directory or installed, or paths of .py files. They are imported, so name
    only code that you trust. Adding one reruns nothing."""
    sources: Sources
    """Where activations come from, by kind and name. Names are unique over kinds."""
    methods: Annotated[dict[Identifier, Method], MinLen(1)]
    """A method picks a pair, a sigma and loss terms (section 2.4); any run setting may stand here."""
    protocols: Annotated[dict[Identifier, Protocol], MinLen(1)]
    """Ways of training. A run's settings are its protocol's run, then its source's run, then its method, then what its
    protocol has for that method."""
    anchorings: dict[AnchoringName, Anchoring] = {}
    """Named ways of anchoring (section 4); "none" exists always."""

    def all_sources(self) -> dict[str, Source]:
        """Return the sources of all kinds by name."""
        return {name: source for _, group in self.sources for name, source in group.items()}

    def source(self, name: str) -> Source:
        """Return a source.

        Raises
        ------
        KeyError
            If there is none of this name.
        """
        for _, group in self.sources:
            if name in group:
                found: Source = group[name]
                return found
        raise KeyError(name)

    def bench(self, name: str) -> Bench | None:
        """Return a bench, or None where the name is not one of a bench."""
        return self.sources.bench.get(name)

    def clip(self, name: str) -> Clip | None:
        """Return a source of images, or None."""
        return self.sources.clip.get(name)

    def language(self, name: str) -> Language | None:
        """Return a source of a language model's activations, or None."""
        return self.sources.language.get(name)

    def with_source(self, name: str, source: Source) -> Self:
        """Return the study with one more source, or another in its place."""
        group = {**getattr(self.sources, source.kind), name: source}
        return self.model_copy(update={"sources": self.sources.model_copy(update={source.kind: group})})


class PartialStudy(Study):
    """The part of a study that one table or figure depends on. It may have no methods."""

    methods: dict[Identifier, Method]
    protocols: dict[Identifier, Protocol]
