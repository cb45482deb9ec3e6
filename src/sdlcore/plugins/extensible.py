"""Settings that hold those of the plugins that a run uses beside ours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from sdlcore.plugins.plugin_settings import own_settings
from sdlcore.plugins.registry import Kind, registered
from sdlcore.settings import FromJson, Json, as_lists, hints, used


@dataclass(frozen=True)
class Extensible(FromJson):
    """Settings that plugins add to (`sdlcore.plugins`). As JSON has them, theirs stand flat beside ours."""

    extended_by: ClassVar[Kind]
    """Kind of the plugins that add to them."""
    own: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """Those of the plugins that the run uses, by name; defaults are filled in."""

    @classmethod
    def from_dict(cls, settings: Mapping[str, Json]) -> Self:
        ours = {one.name for one in fields(cls)} - {"own"}
        given = {name: value for name, value in settings.items() if name in ours}
        own: dict[str, Json] = {name: value for name, value in settings.items() if name not in ours}
        return super().from_dict({**given, "own": own})

    def to_dict(self) -> dict[str, Json]:
        found = super().to_dict()
        del found["own"]
        return {**found, **as_lists(self.own)}

    @property
    def by_plugin(self) -> bool:
        """Whether a plugin reads these settings, and so may hang on any of them."""
        return False

    def used(self) -> dict[str, Json]:
        """Return the settings without those of parts that the run does not have."""
        if self.by_plugin:
            return self.to_dict()
        found = used(self)
        del found["own"]
        return {**found, **as_lists(self.own)}

    def _fill_own(self, chosen: Iterable[str]) -> None:
        """Complete and check the settings of what is chosen of plugins, and leave out those of others.

        Raises
        ------
        ValueError
            Naming settings that no plugin has, or one that has another value than it may have.
        """
        kind = self.extended_by
        if unknown := sorted(self.own.keys() - (own_settings(kind) if self.own else {})):
            ours = [one.name for one in fields(self) if one.name != "own"]
            known = [*ours, *own_settings(kind)]
            meant = hints(unknown, known)
            raise ValueError(f"unknown {self.called}: {', '.join(unknown)}; expected some of {', '.join(known)}{meant}")
        own: dict[str, Any] = {}
        for name in chosen:
            found = registered(kind, name)
            if found is None:  # one of ours
                continue
            names = {setting.name for setting in fields(found.settings)}
            own |= vars(found.settings.from_dict({k: v for k, v in self.own.items() if k in names}))
        object.__setattr__(self, "own", own)


def parts_of(kind: Kind, name: str, room: str) -> tuple[str, ...]:
    """Return the modules that a name in settings stands for: one of ours in a room of its kind, or a plugin's."""
    found = registered(kind, name)
    return (f"{room}.{name}",) if found is None else found.parts
