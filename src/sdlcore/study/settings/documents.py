"""Read the descriptions of settings: the text below each field of a class."""

import ast
import inspect
from functools import cache
from textwrap import dedent
from typing import Any

from pydantic.json_schema import JsonSchemaValue


@cache
def documents(cls: type) -> dict[str, str]:
    """Return the text below each field of a class, in one line; nothing of one that is made without source code.

    It reads source code, which takes milliseconds.
    """
    try:
        body = ast.parse(dedent(inspect.getsource(cls))).body[0]
    except (OSError, TypeError):
        return {}
    if not isinstance(body, ast.ClassDef):  # a function of a plugin
        return {}
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            found[field.target.id] = " ".join(ast.literal_eval(below.value).split())
    return found


def describe(schema: JsonSchemaValue, cls: Any) -> None:
    """Write the descriptions of a model's fields, those that it inherits too, into its JSON schema."""
    for base in cls.__mro__:
        own = cls.model_fields.keys() & vars(base).get("__annotations__", {}).keys()
        for name in own & (documents(base).keys() if own else set()):
            # YAML says null
            text = documents(base)[name].replace("None", "null")
            schema["properties"][cls.model_fields[name].alias or name]["description"] = text
