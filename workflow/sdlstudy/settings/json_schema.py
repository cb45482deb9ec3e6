"""Write settings as a JSON schema."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema


class Generator(GenerateJsonSchema):
    """Generate a schema without titles, which would repeat the keys, and with null as one more type of a value."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        json_schema = super().model_schema(schema)
        json_schema.pop("title", None)
        if "description" in json_schema:
            json_schema["description"] = " ".join(json_schema["description"].split())
        return json_schema

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if isinstance(inner.get("type"), str) and "enum" not in inner:
            return inner | {"type": [inner["type"], "null"]}
        return super().nullable_schema(schema)

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        """Keep keys in the order of the fields, and put the description first."""
        return _description_first(value)


def _description_first(part: Any) -> Any:
    if isinstance(part, list):
        return [_description_first(item) for item in part]
    if not isinstance(part, dict):
        return part
    first = {"description": part["description"]} if isinstance(part.get("description"), str) else {}
    return first | {key: _description_first(value) for key, value in part.items()}
