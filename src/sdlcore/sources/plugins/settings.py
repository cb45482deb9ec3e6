"""Settings of a source that a plugin adds. Without numpy: configurations are checked by them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from sdlcore.plugins.extensible import Extensible, parts_of
from sdlcore.plugins.names import Name
from sdlcore.plugins.plugin_settings import settings_class
from sdlcore.plugins.registry import Extension, Kind, check_named, register, registered
from sdlcore.settings import StoredPrecision, Total, check

AnyFill = TypeVar("AnyFill", bound=Callable[..., Any])


@dataclass(frozen=True)
class PluginSource(Extensible):
    """Activations that a plugin gives."""

    called: ClassVar[str] = "settings of a source"
    extended_by: ClassVar[Kind] = "source"

    source: Annotated[str, Name("source", ())]
    """The source, as its plugin calls it."""
    train_samples: Total | None = None
    """Samples for training; None for as many as it gives."""
    test_samples: Total | None = None
    """Samples for evaluation; None for as many as it gives."""
    dtype: StoredPrecision = "float32"
    """Precision that the activations are stored in."""

    def __post_init__(self) -> None:
        check(self)
        self._fill_own([self.source])

    @property
    def parts(self) -> tuple[str, ...]:
        """The modules that it is imported from by its name."""
        return parts_of("source", self.source, "sdlcore.sources")


def source(name: str, *, target: bool = False, labels: bool | Sequence[str] = False) -> Callable[[AnyFill], AnyFill]:
    """Register a generator as a source of activations (`sdlcore.sources.plugins.filling.Rows`).

    It is given ``split``, train or test, and a NumPy generator whose stream is the split's own. It yields blocks of
    samples, as arrays (B x n_p) or as `Rows`; what is beyond ``train_samples`` or ``test_samples`` is left out. Its
    keyword-only parameters are settings, which are checked as ours are.

    Parameters
    ----------
    name
        What configurations call it: lower-case letters, digits and underscores.
    target, labels
        Whether blocks have a second representation, and classes; the names of classes, if they have other names than
        their numbers.

    Raises
    ------
    PluginError
        If the name is taken, or a setting has the name of one of ours or a type that no configuration can hold.
    """

    check_named(name, "source")

    def add(fill: AnyFill) -> AnyFill:
        settings = settings_class(fill, f"source {name}", takes=("split", "rng"))
        taken = [one.name for one in fields(PluginSource)]
        facts = {"target": target, "labels": labels}
        register(Extension("source", name, fill, settings, facts), (), [*taken, "run", "like", "class_means"])
        return fill

    return add


def source_gives(name: Any, what: Literal["target", "labels"]) -> bool:
    """Return whether a plugin's source yields targets, or labels."""
    found = registered("source", name) if isinstance(name, str) else None
    return found is not None and bool(found.facts[what])
