"""Write the descriptions of settings, the text below each field of a class, into JSON schemas."""

from functools import cache
from typing import Any

from pydantic.json_schema import JsonSchemaValue

from sdlcore.plugins.own import described


@cache
def documents(cls: type) -> dict[str, str]:
    """Return the text below each field of a class, in one line. It reads source code, which takes milliseconds."""
    return {name: " ".join(text.split()) for name, text in described(cls).items()}


def describe(schema: JsonSchemaValue, cls: Any) -> None:
    """Write the descriptions of a model's fields, those that it inherits too, into its JSON schema."""
    for base in cls.__mro__:
        own = cls.model_fields.keys() & vars(base).get("__annotations__", {}).keys()
        for name in own & (documents(base).keys() if own else set()):
            # YAML says null
            text = documents(base)[name].replace("None", "null")
            schema["properties"][cls.model_fields[name].alias or name]["description"] = text
