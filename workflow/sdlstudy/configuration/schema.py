"""The JSON schema of configurations, generated from their models.

`PYTHONPATH=workflow python -m sdlstudy.configuration.schema` writes the schema for editors.
"""

from pathlib import Path

import yaml

from sdlstudy.configuration.whole import Configuration

FILE = Path("config/schema/config.schema.yaml")
"""Path of the schema in the checkout, for editors and readers."""
HEAD = (
    "# Written by `PYTHONPATH=workflow python -m sdlstudy.configuration.schema` from the models of workflow/sdlstudy.\n"
)


def as_yaml() -> str:
    """Return the schema as YAML text."""
    definition = Configuration.model_json_schema()
    return HEAD + yaml.safe_dump(definition, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


if __name__ == "__main__":
    FILE.write_text(as_yaml(), encoding="utf-8")
