"""Models of protocols, methods and settings of runs, made of the library's dataclasses."""

import json
from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Annotated, Any, ClassVar, Self, get_origin

from pydantic import (
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import InitErrorDetails, PydanticCustomError

from sdlcore.baselines.settings import PeerConfig
from sdlcore.plugins import Extension, Kind, own_settings
from sdlcore.run import LossConfig, ModelConfig, TrainingConfig
from sdlcore.settings import wanted
from sdlcore.solvers.settings import SolverConfig
from sdlcore.study.settings.documents import documents
from sdlcore.study.settings.fields import AsGiven, Identifier, Settings, Unique, left_out

USERS: dict[str, tuple[type, ...]] = {
    "trainings": (ModelConfig, LossConfig, TrainingConfig),
    "solvers": (SolverConfig,),
    "other libraries": (PeerConfig,),
}
"""Kinds of runs, and the classes that define their settings."""
HOLDING = ("anchor_form", "anchor_until", "anchor_fall", "anchor_cosine")
"""How anchors hold their rows, beside the weight."""
NOT_GIVEN = ("pursuit", "lambda_anchor", *HOLDING, "own")
"""Settings that a run has from its kind, its anchoring or its plugins."""
OF_PLUGINS: dict[str, tuple[Kind, ...]] = {"trainings": ("activation", "loss term"), "solvers": ("solver",)}
"""What plugins have that adds settings to each kind of runs."""


def defined(*users: str) -> Iterator[tuple[str, type, Field[Any]]]:
    """Yield each setting of some kinds of runs: whose it is, the class, and the field that defines it."""
    for user in users:
        for cls in USERS[user]:
            yield from ((user, cls, field) for field in fields(cls) if field.name not in NOT_GIVEN)


def _describe(schema: JsonSchemaValue, cls: Any) -> None:
    """Write into the JSON schema of a layer what each setting means to whom, and in brackets its defaults."""
    texts: dict[str, dict[str, str]] = {}
    defaults: dict[str, list[str]] = {}
    for user, definition, field in defined(*cls.users):
        # YAML says null
        text, said = documents(definition)[field.name].replace("None", "null"), texts.setdefault(field.name, {})
        said.setdefault(text, f"For {user}: {text}" if said else text)
        defaults.setdefault(field.name, []).append(f"{json.dumps(field.default)} for {user}")
    for name, said in texts.items():
        described = f"{' '.join(said.values())} [Default: {', '.join(defaults[name])}]"
        schema["properties"][name]["description"] = described
        del schema["properties"][name]["default"]
    for name, text in documents(cls).items():
        schema["properties"][name]["description"] = text


class Layer(Settings):
    """Some settings of runs. What is left out comes from the layers below, at the bottom from the defaults of runs."""

    model_config = ConfigDict(json_schema_extra=_describe)
    users: ClassVar[tuple[str, ...]] = ()
    """The kinds of runs whose settings may stand in the layer."""

    @classmethod
    def of_plugins(cls) -> dict[str, list[tuple[Extension, Any]]]:
        """Return the settings that plugins add: whose each is, and its annotation."""
        return own_settings(*(kind for user in cls.users for kind in OF_PLUGINS.get(user, ())))

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

    @model_serializer
    def given(self) -> dict[str, Any]:
        """Return the settings that are given, as they were written."""
        return {name: value for name, value in self if name in self.model_fields_set}


def _refused(name: str, value: Any, declared: list[tuple[Extension, Any]]) -> InitErrorDetails | None:
    """Return the error of a plugin's setting that has another value than any plugin takes, or None."""
    problems = [wanted(annotation, _as_tuple(value)) for _, annotation in declared]
    if None in problems:
        return None
    text = next((documents(one.made)[name] for one, _ in declared if name in documents(one.made)), "")
    said = f"expected {problems[0]}{f' ({text})' if text else ''}, found {value!r}"
    return InitErrorDetails(type=PydanticCustomError("own", "{said}", {"said": said}), loc=(name,), input=value)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _layer(*users: str) -> Any:
    """Return a model with the settings of some kinds of runs; where these differ in range, the first kind's counts."""
    found: dict[str, Any] = {}
    for _, _, field in defined(*users):
        annotation: Any = field.type
        if get_origin(annotation) is tuple:
            annotation = Annotated[annotation, BeforeValidator(_as_tuple), Unique]
        found.setdefault(field.name, (Annotated[annotation, AsGiven], None))
    return create_model("Layer", __base__=Layer, **found)


_TRAININGS: Any = _layer("trainings")
_ALL: Any = _layer("trainings", "solvers", "other libraries")


class Run(_TRAININGS):
    """Settings of a run; those left out come from the layers below, at the bottom from sdlcore's own defaults."""

    users = ("trainings",)


class Method(_ALL):
    """A pair, a sigma and loss terms (section 2.4), or a solver, or another library, with settings of their runs."""

    users = ("trainings", "solvers", "other libraries")

    warm_start: Identifier | None = left_out()
    """A method, solver or not, whose dictionary the first latents or all atoms start from: that of its run with the
    same source, protocol and seed, without anchors."""
    like: Identifier | None = left_out()
    """Another method, all of whose settings this one takes, those that protocols have for it too, with its own laid
    over them."""

    @property
    def is_solver(self) -> bool:
        """Whether it solves for its dictionary instead of training it by gradient descent."""
        return "solver" in self.model_fields_set

    @property
    def is_peer(self) -> bool:
        """Whether another library trains it."""
        return "peer" in self.model_fields_set


class Protocol(Settings):
    """A way of training."""

    run: Run = Run()
    methods: dict[str, Run] = {}
    """Settings of single methods under this protocol."""
