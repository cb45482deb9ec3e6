"""Names in settings that plugins add to."""

from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticCustomError, core_schema

from sdlcore.plugins.importing import VARIABLE
from sdlcore.plugins.registry import Kind, extensions
from sdlcore.suggestions import did_you_mean


@dataclass(frozen=True)
class Name:
    """The annotation of a name: a built-in name, or a name that a plugin has registered."""

    kind: Kind
    ours: tuple[str, ...]
    unlisted: tuple[str, ...] = ()
    """Further built-in names, which no configuration names."""

    def all_names(self) -> tuple[str, ...]:
        """Return the names of built-in and plugin extensions."""
        return (*self.ours, *extensions(self.kind))

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), **({"enum": list(self.ours)} if self.ours else {})}

    def _checked(self, value: str) -> str:
        if value in (*self.ours, *self.unlisted) or value in extensions(self.kind):
            return value
        names = self.all_names()
        listed = [f"one of {', '.join(names)}"] if names else []
        theirs = f"of a plugin (named in {VARIABLE}, or under plugins in a configuration)"
        expected = ", or ".join(listed if extensions(self.kind) else [*listed, theirs])
        message = f"{value!r} is not {expected}{did_you_mean(value, names)}"
        raise PydanticCustomError("name", "{message}", {"message": message, "expected": expected, "known": names})
