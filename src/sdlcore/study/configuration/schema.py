"""The JSON schema of configurations, generated from their models: `python -m sdlcore.study.configuration.schema`."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from sdlcore.study.configuration.whole import Configuration

FILE = Path("config/schema/config.schema.yaml")
"""Where editors and readers find it, below the checkout."""
OPEN = ("sources", "methods", "protocols")
"""Keys that hold settings which plugins add to."""
HEAD = "# Written by `python -m sdlcore.study.configuration.schema` from the models of src/sdlcore/study.\n"


class _Generator(GenerateJsonSchema):
    """Without titles, which repeat the keys, and with null as one more type where there is one."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        found.pop("title", None)
        if "description" in found:
            found["description"] = " ".join(found["description"].split())
        return found

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if isinstance(inner.get("type"), str) and "enum" not in inner:
            return inner | {"type": [inner["type"], "null"]}
        return super().nullable_schema(schema)

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        """Leave keys in the order of the fields, the description first."""
        return _description_first(value)


def _description_first(part: Any) -> Any:
    if isinstance(part, list):
        return [_description_first(item) for item in part]
    if not isinstance(part, dict):
        return part
    first = {"description": part["description"]} if isinstance(part.get("description"), str) else {}
    return first | {key: _description_first(value) for key, value in part.items()}


@cache
def schema() -> JsonSchemaValue:
    """Return the JSON schema of a configuration. Only errors need it at run time."""
    found = Configuration.model_json_schema(schema_generator=_Generator)
    return {"$schema": GenerateJsonSchema.schema_dialect} | found


def published() -> JsonSchemaValue:
    """Return the schema for editors, which know no plugin.

    Where a configuration names one, they leave `OPEN` to us: plugins add names and settings there.
    """
    found = schema()
    inside = {key: found["properties"][key] for key in OPEN}
    outside = {key: {"description": part["description"], "type": "object"} for key, part in inside.items()}
    without_plugins = {"properties": {"plugins": {"maxItems": 0}}}
    return {**found, "properties": found["properties"] | outside, "if": without_plugins, "then": {"properties": inside}}


def as_yaml() -> str:
    """Return the schema as the text of its file."""
    return HEAD + yaml.safe_dump(published(), sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


if __name__ == "__main__":
    FILE.write_text(as_yaml(), encoding="utf-8")
