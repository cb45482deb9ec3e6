"""Names in settings that plugins add to."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdlcore.plugins.importing import VARIABLE
from sdlcore.plugins.registry import Kind, extensions
from sdlcore.settings import Wanting, did_you_mean

if TYPE_CHECKING:  # a training without configurations needs no pydantic
    from pydantic_core import core_schema


@dataclass(frozen=True)
class Name(Wanting):
    """The annotation of a text that is one of our names, or one that a plugin has registered."""

    kind: Kind
    ours: tuple[str, ...]

    def wanted(self, value: Any) -> str | None:
        if value in self.ours or (isinstance(value, str) and value in extensions(self.kind)):
            return None
        listed = [f"one of {', '.join(known)}"] if (known := self.known()) else []
        theirs = f"of a plugin (named in {VARIABLE}, or under plugins in a configuration)"
        return ", or ".join(listed if extensions(self.kind) else [*listed, theirs])

    def known(self) -> tuple[str, ...]:
        return (*self.ours, *extensions(self.kind))

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> "core_schema.CoreSchema":
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), **({"enum": list(self.ours)} if self.ours else {})}

    def _checked(self, value: Any) -> Any:
        from pydantic_core import PydanticCustomError

        if problem := self.wanted(value):
            said = f"{value!r} is not {problem}{did_you_mean(value, self.known())}"
            raise PydanticCustomError("name", "{said}", {"said": said})
        return value
