"""What is shown: tables and figures, and the runs that each asks for."""

from typing import Annotated

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import Field

from sdlcore.settings import Positive
from sdlcore.study.configuration.models.fields import (
    AnchoringName,
    AsGiven,
    Identifier,
    Names,
    Numbers,
    Seeds,
    Settings,
    Unique,
    left_out,
)

Images = Annotated[int, Ge(1), Le(1000)]


class Discover(Settings):
    """Directions that a solver finds in both halves of the training data."""

    method: Identifier
    """A method that is a solver: with pair sae for directions of the input, with pair crosscoder for those of input and
    target."""
    min_cosine: Annotated[float, Gt(0), Le(1), AsGiven] = 0.9
    """How near what it finds in one half must be to what it finds in the other."""


class Anchoring(Settings):
    """A way of anchoring (section 4)."""

    n_anchors: Annotated[float, Gt(0), Le(10**8), AsGiven] | None
    """Number of anchors, or, below 1, the share of the classes or features that are given away, one at least; of
    discovered ones those of most energy, null for all that are stable."""
    lambda_anchor: Annotated[Positive, AsGiven] = 0.1
    """Weight of eq. (25)."""
    discover: Discover | None = left_out()
    """Take directions that a solver finds in both halves of the training data, instead of true features or means of
    classes (docs/anchors.md)."""


class Sweep(Settings):
    """One parameter that a table varies.

    Each value makes a variant of the source or of the methods, named after it (lrb_n_800, topk_k_32); a value that they
    have already stands for themselves, and its runs are those of other tables.
    """

    parameter: str
    """A setting of the source, or else of runs."""
    values: Numbers
    """What it is set to, in the order of the rows."""
    paper: list[Annotated[float, AsGiven]] | None = None
    """The values of the paper's table whose numbers stand beside those of values, one for each; null for the same
    values."""


class Compared(Settings):
    """What is trained for a table on one source."""

    methods: Names
    anchorings: Names = ["none"]
    protocols: Names = ["best"]
    seeds: Seeds | None = None
    """Some of the configuration's seeds; null for all of them."""


class Table(Compared):
    """What a table compares."""

    source: Identifier
    sweep: Sweep | None = None
    """One parameter that the table varies; null for none."""


class SettingsTable(Settings):
    """The settings of a bench beside those of the paper's Table 3."""

    source: Identifier
    """A bench."""


class OnSource(Settings):
    """Which methods run on a source for one of the tables that the paper lacks."""

    methods: Names
    """Solvers, and trained methods to hold them against."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""


class BenchTable(Settings):
    """A table that the paper lacks, of methods without anchors."""

    runs: Annotated[dict[Identifier, OnSource | None], MinLen(1)]
    """What is run on which benches, or, of solvers, stored sources of any kind; null leaves a source of the default
    out."""
    protocol: Identifier = "best"
    """The protocol of those that are trained."""


class Panel(Settings):
    """One setting of the bench that is varied."""

    values: Numbers
    """What it is set to, in the order of the axis."""
    methods: Names | None = None
    """Methods of this panel; null for those of all."""


class Frontier(Settings):
    """Where methods break, one setting of a bench after the other, a panel each."""

    source: Identifier
    """A bench."""
    methods: Names
    """Solvers, and trained methods to hold them against."""
    panels: Annotated[dict[str, Panel], MinLen(1)]
    """The settings of the bench that are varied. Each value makes a variant that is named after it (lrb_n_1400), or is
    the bench itself."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""
    protocol: Identifier = "best"
    """The protocol of those that are trained."""


class Discovered(Settings):
    """What is trained on a source with discovered anchors."""

    methods: Names
    anchorings: Annotated[list[AnchoringName], MinLen(1), Unique]
    """What is compared with none."""
    protocols: Names = ["best"]


class Discovery(Settings):
    """The table that compares discovered anchors with none and with given ones."""

    runs: Annotated[dict[Identifier, Discovered | None], MinLen(1)]
    """What is trained on which sources; null leaves a source of the default out."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""


class Figure4(Settings):
    """Zero loss without recovery, true features beside what a run learned, for the seed that recovers fewest."""

    source: Identifier
    """A bench with n_p = 3."""
    method: Identifier
    """An autoencoder, with as many latents as features or more."""
    protocol: Identifier = "best"


class Figure5(Settings):
    """Absorption of parents by their children, for each method."""

    source: Identifier
    """A bench with a hierarchy."""
    methods: Names
    """Autoencoders, with as many latents as the bench has features or more."""
    protocol: Identifier = "best"


class Convergence(Settings):
    """Loss and recovery over seconds, without anchors, of methods that are trained and of solvers.

    These runs tell their recovery in each row of their histories.
    """

    source: Identifier
    """A bench."""
    methods: Names
    protocols: Names = ["best"]
    seeds: Seeds | None = None
    """Null for the first of seeds."""


class Figure6(Settings):
    """Loss with and without resampling of dead latents."""

    source: Identifier
    without: Identifier
    """A method that does not resample."""
    with_: Identifier = Field(alias="with")
    """The same method with resampling."""
    protocol: Identifier = "best"


class Figure8(Settings):
    """The bench in three dimensions."""

    source: Identifier
    """A bench with n_p = 3."""


class TopImages(Settings):
    """The images that activate latents of a run most, one row a latent, with their classes."""

    source: Identifier
    """A source of images."""
    method: Identifier
    protocol: Identifier = "best"
    anchoring: Identifier = "none"
    """none, or the anchoring of the run."""
    rows: Images = 4
    """Latents shown, those whose decoder columns match the first anchored classes best, one a class; a run without
    anchors shows the same classes."""
    images: Images = 10
    """Images of each."""


class Figures(Settings):
    """Figures; null leaves one of the default out."""

    figure4: Figure4 | None = left_out()
    figure5: Figure5 | None = left_out()
    convergence: Convergence | None = left_out()
    figure6: Figure6 | None = left_out()
    figure8: Figure8 | None = left_out()
    figure9: TopImages | None = left_out()
    figure10: TopImages | None = left_out()
