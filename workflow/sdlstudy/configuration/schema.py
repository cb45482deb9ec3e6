"""The JSON schema of configurations, generated from their models.

`PYTHONPATH=workflow python -m sdlstudy.configuration.schema` writes the schema for editors.
"""

from functools import cache
from pathlib import Path

import yaml
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from sdlstudy.configuration.whole import Configuration
from sdlstudy.settings.json_schema import Generator

FILE = Path("config/schema/config.schema.yaml")
"""Path of the schema in the checkout, for editors and readers."""
OPEN = ("sources", "methods", "protocols")
"""Keys whose settings plugins extend."""
HEAD = (
    "# Written by `PYTHONPATH=workflow python -m sdlstudy.configuration.schema` from the models of workflow/sdlstudy.\n"
)


@cache
def schema() -> JsonSchemaValue:
    """Return the JSON schema of a configuration. At run time only error messages need it."""
    definition = Configuration.model_json_schema(schema_generator=Generator)
    return {"$schema": GenerateJsonSchema.schema_dialect} | definition


def published() -> JsonSchemaValue:
    """Return the schema for editors, which do not know the settings of plugins.

    In a configuration that names a plugin, editors do not check the keys in `OPEN`, since plugins add names and
    settings there. sdlcore checks those keys when it reads the configuration.
    """
    definition = schema()
    inside = {key: definition["properties"][key] for key in OPEN}
    outside = {key: {"description": part["description"], "type": "object"} for key, part in inside.items()}
    without_plugins = {"properties": {"plugins": {"maxItems": 0}}}
    return {
        **definition,
        "properties": definition["properties"] | outside,
        "if": without_plugins,
        "then": {"properties": inside},
    }


def as_yaml() -> str:
    """Return the schema as YAML text."""
    return HEAD + yaml.safe_dump(published(), sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


if __name__ == "__main__":
    FILE.write_text(as_yaml(), encoding="utf-8")
