"""The base of models that plugins add settings to: they stand flat beside ours."""

from typing import Any, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from sdlcore.pipeline import Extension, Kind, own_settings, wanted
from sdlcore.study.settings.fields import Settings, documents


class Extensible(Settings):
    """Settings that plugins add to (`sdlcore.plugins`)."""

    @classmethod
    def kinds_of_plugins(cls) -> tuple[Kind, ...]:
        """Return what plugins have that adds settings."""
        return ()

    @classmethod
    def of_plugins(cls) -> dict[str, list[tuple[Extension, Any]]]:
        """Return the settings that plugins add: whose each is, and its annotation."""
        return own_settings(*cls.kinds_of_plugins())

    @property
    def own(self) -> dict[str, Any]:
        """The plugins' settings that are given."""
        return {name: value for name, value in self if name not in type(self).model_fields}

    @model_validator(mode="wrap")
    @classmethod
    def _with_own(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Check what plugins add apart from our own settings, and put it beside these."""
        unknown = given.keys() - cls.model_fields.keys() if isinstance(given, dict) else None
        own = unknown & cls.of_plugins().keys() if unknown else None  # few configurations have plugins to look for
        if not own:
            return handler(given)
        found = handler({name: value for name, value in given.items() if name not in own})
        wrong = [_refused(name, given[name], cls.of_plugins()[name]) for name in given if name in own]
        if errors := [error for error in wrong if error is not None]:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return found.model_copy(update={name: given[name] for name in given if name in own})


def _refused(name: str, value: Any, declared: list[tuple[Extension, Any]]) -> InitErrorDetails | None:
    """Return the error of a plugin's setting that has another value than any plugin takes, or None."""
    given = tuple(value) if isinstance(value, list) else value
    problems = [wanted(annotation, given) for _, annotation in declared]
    if None in problems:
        return None
    text = next((documents(one.made)[name] for one, _ in declared if name in documents(one.made)), "")
    said = f"expected {problems[0]}{f' ({text})' if text else ''}, found {value!r}"
    return InitErrorDetails(type=PydanticCustomError("own", "{said}", {"said": said}), loc=(name,), input=value)
