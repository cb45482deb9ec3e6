"""The JSON schema of configurations, generated from their models: `python -m sdlcore.study.configuration.schema`."""

from functools import cache
from pathlib import Path

import yaml
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from sdlcore.study.configuration.whole import Configuration
from sdlcore.study.settings.json_schema import Generator

FILE = Path("config/schema/config.schema.yaml")
"""Where editors and readers find it, below the checkout."""
OPEN = ("sources", "methods", "protocols")
"""Keys that hold settings which plugins add to."""
HEAD = "# Written by `python -m sdlcore.study.configuration.schema` from the models of src/sdlcore/study.\n"


@cache
def schema() -> JsonSchemaValue:
    """Return the JSON schema of a configuration. Only errors need it at run time."""
    found = Configuration.model_json_schema(schema_generator=Generator)
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
