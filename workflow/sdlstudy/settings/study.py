"""The part of a configuration that all tables and figures share: sources, methods, protocols, anchorings, seeds."""

from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, Lt

from sdlcore.config import LAMBDA_ANCHOR, AnchorForm
from sdlcore.settings import Positive, Text
from sdlcore.solvers.settings import MIN_COSINE
from sdlstudy.settings.fields import AnchoringName, AsGiven, Identifier, Seeds, Settings, Unique, left_out
from sdlstudy.settings.runs import OF_ANCHORINGS, Method, Protocol
from sdlstudy.settings.sources import Language, Source, Sources


class Discover(Settings):
    """Directions that a solver finds in both halves of the training data."""

    method: Identifier
    """A method that is a solver. Its pair sae finds directions of the input, and crosscoder directions of both input
    and target."""
    min_cosine: Annotated[float, Gt(0), Le(1), AsGiven] = MIN_COSINE
    """Smallest cosine between a direction found in one half and its match in the other half."""


class Anchoring(Settings):
    """A way of anchoring (section 4)."""

    n_anchors: Annotated[float, Gt(0), Le(10**8), AsGiven] | None
    """Number of anchors. A number below 1 is the share of the classes or features, and gives at least one anchor.
    Discovered anchors are taken by energy, the largest first; null takes all that are stable."""
    lambda_anchor: Positive = LAMBDA_ANCHOR
    """Weight of eq. (25). It has no meaning with anchor_cosine, which chooses it."""
    anchor_form: AnchorForm | None = left_out()
    """Distance between rows and anchors. frobenius: squared distance to unit anchors (eq. 25), the default; matched:
    squared distance to anchors with the row's norm; cosine: 1 - cosine."""
    anchor_until: Annotated[float, Gt(0), Le(1), AsGiven] | None = left_out()
    """Share of the training steps after which anchors are released; null for never."""
    anchor_fall: Annotated[float, Gt(0), Le(1), AsGiven] | None = left_out()
    """Share of the steps over which the weight of anchors falls linearly to zero. They are the last steps before
    anchors are released. Null for a constant weight."""
    anchor_cosine: Annotated[float, Gt(0), Lt(1), AsGiven] | None = left_out()
    """Choose lambda_anchor for each run by trial trainings: the smallest weight of a grid with which anchored decoder
    columns reach this cosine with their anchors (docs/paper.md). The trials use neither features nor classes."""
    features: Literal["parents"] | None = left_out()
    """Features of a bench that anchors are drawn from: the parents of its hierarchy; null for all features."""
    discover: Discover | None = left_out()
    """Anchor to directions that a solver finds in both halves of the training data, instead of true features or class
    means (docs/paper.md)."""

    def check_together(self) -> None:
        number, discovered = self.n_anchors, self.discover is not None
        if number is None and not discovered:
            raise ValueError("n_anchors: expected a number; null is for discovered anchors only")
        if isinstance(number, float) and (number >= 1 or discovered):
            expected = "an integer" if discovered else "an integer, or a share below 1"
            raise ValueError(f"n_anchors: expected {expected}, found {number}")

    @property
    def of_runs(self) -> dict[str, Any]:
        """Return the settings that the anchoring gives to its runs."""
        settings = {name: getattr(self, name) for name in OF_ANCHORINGS if getattr(self, name) is not None}
        return {name: value for name, value in settings.items() if name != "lambda_anchor" or not self.anchor_cosine}


class Study(Settings):
    """A configuration without its tables and figures."""

    name: Identifier
    """Name of the configuration. Results go to results/<name>, logs to logs/<name>."""
    seeds: Seeds
    """Seeds. A seed determines matrices, samples, initialisation, order and anchors, by an independent random stream
    for each. Seeds of a configuration also replace the seeds of the default's tables and figures."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of trainings. auto uses a GPU if torch finds one. Not tracked: a change retrains nothing."""
    processes: Annotated[int, Ge(1), Le(1000)] = 1
    """Number of processes that train each dictionary together, each on a part of every batch, and on its own GPU if
    there are GPUs. Not tracked: a change retrains nothing."""
    tensorboard: bool = True
    """Also write the history of each run as TensorBoard event files, to tensorboard/ beside the model. Not tracked."""
    wandb: Text | None = None
    """Project of Weights & Biases that receives the history of each run; null for none. Needs the package wandb. Not
    tracked."""
    cache: Text = "cache"
    """Folder for downloads (wheels, models), relative to the working directory or absolute."""
    peers_python: Text = "benchmarks/.venv/bin/python"
    """Python interpreter with other libraries installed (docs/peers.md), relative to the checkout or absolute. Runs of
    methods with peer use it unless Snakemake runs with --use-conda. Not tracked."""
    plugins: Annotated[list[Text], Unique] = []
    """Modules with activations, loss terms, solvers, metrics and sources of your own (docs/extending.md). Give names of
    modules (beside this file, in the working directory or installed) or paths of .py files. The modules are imported,
    so name only code that you trust. Adding a module reruns nothing."""
    sources: Sources
    """Sources of activations, by kind and name. Names are unique over all kinds."""
    methods: dict[Identifier, Method]
    """Methods: a pair, a sigma and loss terms (section 2.4). A method may contain any setting of a run."""
    protocols: dict[Identifier, Protocol]
    """Ways of training. The settings of a run merge, in this order: its protocol's run, its source's run, its method,
    and its protocol's settings for that method. Later ones take precedence."""
    anchorings: dict[AnchoringName, Anchoring] = {}
    """Ways of anchoring (section 4), by name. The name none is reserved for runs without anchors."""

    def all_sources(self) -> dict[str, Source]:
        """Return the sources of all kinds, by name."""
        return {name: source for _, group in self.sources for name, source in group.items()}

    def source(self, name: str) -> Source:
        """Return the source of this name.

        Raises
        ------
        KeyError
            If no source has this name.
        """
        for _, group in self.sources:
            if name in group:
                source: Source = group[name]
                return source
        raise KeyError(name)

    def language(self, name: str) -> Language | None:
        """Return a language model's source, or None if the source has another kind."""
        return self.sources.language.get(name)

    def with_source(self, name: str, source: Source) -> Self:
        """Return a copy of the study with a source added, or replaced if the name exists."""
        group = {**getattr(self.sources, source.kind), name: source}
        return self.model_copy(update={"sources": self.sources.model_copy(update={source.kind: group})})
