"""Settings of a plugin's source.

The module does not import numpy, so that checking a configuration is fast.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator

from sdlcore.plugins.registry import Extension, Kind, Pluggable, check_name, extension, registered
from sdlcore.settings import StoredPrecision, Total

AnyFill = TypeVar("AnyFill", bound=Callable[..., Any])


class PluginSource(Pluggable):
    """Activations from a plugin's source."""

    kinds: ClassVar[tuple[Kind, ...]] = ("source",)

    source: Annotated[str, AfterValidator(lambda name: check_name("source", name, ()))]
    """Name of the source in its plugin."""
    train_samples: Total | None = None
    """Number of training samples; None for all that the source yields."""
    test_samples: Total | None = None
    """Number of evaluation samples; None for all that the source yields."""
    dtype: StoredPrecision = "float32"
    """Precision of the activation stores."""

    def used_plugins(self) -> list[Extension]:
        """Return the plugin of the source."""
        plugin = registered("source", self.source)
        return [] if plugin is None else [plugin]


def source(name: str, *, target: bool = False, labels: bool | Sequence[str] = False) -> Callable[[AnyFill], AnyFill]:
    """Register a generator as a source of activations (`sdlcore.sources.plugins.filling.Rows`).

    The function receives ``split``, train or test, and a NumPy generator for this split. It yields blocks of samples,
    as arrays (B x n_p) or as `Rows`; samples beyond ``train_samples`` or ``test_samples`` are left out. Its
    keyword-only parameters become settings, which are checked like built-in settings.

    Parameters
    ----------
    name
        Name in configurations: lower-case letters, digits and underscores.
    target, labels
        Whether blocks contain a second representation, and class labels. ``labels`` may be the class names; True uses
        the class numbers as names.

    Raises
    ------
    PluginError
        If the name is taken, or a setting is named like a built-in one or has a type that configurations cannot hold.
    """
    reserved = [*PluginSource.model_fields, "run", "like", "class_means"]
    return extension("source", name, (), reserved, {"target": target, "labels": labels}, takes=2)


def source_gives(name: Any, what: Literal["target", "labels"]) -> bool:
    """Return whether a plugin's source yields targets, or labels."""
    plugin = registered("source", name) if isinstance(name, str) else None
    return plugin is not None and bool(plugin.facts[what])
