"""Models of protocols, methods and settings of runs, made of the library's dataclasses."""

import json
from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Annotated, Any, ClassVar, get_origin

from pydantic import BeforeValidator, ConfigDict, create_model, model_serializer
from pydantic.json_schema import JsonSchemaValue

from sdlcore.pipeline import (
    ImportConfig,
    Kind,
    LossConfig,
    ModelConfig,
    PeerConfig,
    RunConfig,
    SolverConfig,
    TrainingConfig,
)
from sdlcore.study.settings.extensible import Extensible
from sdlcore.study.settings.fields import AsGiven, Identifier, Settings, Unique, documents, left_out

USERS: dict[str, tuple[type, ...]] = {
    "trainings": (ModelConfig, LossConfig, TrainingConfig),
    "solvers": (SolverConfig,),
    "other libraries": (PeerConfig,),
    "imported dictionaries": (ImportConfig,),
}
"""Kinds of runs, and the classes that define their settings."""
RunSettings = RunConfig | SolverConfig | PeerConfig | ImportConfig
MADE_BY: dict[str, type[RunSettings]] = {"solver": SolverConfig, "peer": PeerConfig, "model": ImportConfig}
"""The setting that makes a method one of another kind than a training, and what settings its runs then have."""
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


class Layer(Extensible):
    """Some settings of runs. What is left out comes from the layers below, at the bottom from the defaults of runs."""

    model_config = ConfigDict(json_schema_extra=_describe)
    users: ClassVar[tuple[str, ...]] = ()
    """The kinds of runs whose settings may stand in the layer."""

    @classmethod
    def kinds_of_plugins(cls) -> tuple[Kind, ...]:
        return tuple(kind for user in cls.users for kind in OF_PLUGINS.get(user, ()))

    @model_serializer
    def given(self) -> dict[str, Any]:
        """Return the settings that are given, as they were written."""
        return {name: value for name, value in self if name in self.model_fields_set}


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
_ALL: Any = _layer(*USERS)


class Run(_TRAININGS):
    """Settings of a run; those left out come from the layers below, at the bottom from sdlcore's own defaults."""

    users = ("trainings",)


class Method(_ALL):
    """A pair, a sigma and loss terms (section 2.4), or a solver, another library or a file, with settings of their
    runs."""

    users = tuple(USERS)

    warm_start: Identifier | None = left_out()
    """A method, solver or not, whose dictionary the first latents or all atoms start from: that of its run with the
    same source, protocol and seed, without anchors."""
    like: Identifier | None = left_out()
    """Another method, all of whose settings this one takes, those that protocols have for it too, with its own laid
    over them."""

    @property
    def settings(self) -> type[RunSettings]:
        """The settings that its runs have, which say what makes their dictionaries."""
        return next((kind for name, kind in MADE_BY.items() if name in self.model_fields_set), RunConfig)

    @property
    def is_solver(self) -> bool:
        """Whether it solves for its dictionary instead of training it by gradient descent."""
        return self.settings is SolverConfig

    @property
    def is_peer(self) -> bool:
        """Whether another library trains it."""
        return self.settings is PeerConfig

    @property
    def is_imported(self) -> bool:
        """Whether its dictionary is opened from a file."""
        return self.settings is ImportConfig

    @property
    def is_given(self) -> bool:
        """Whether nothing of a protocol or a source makes it: it is solved for, or opened from a file."""
        return self.is_solver or self.is_imported


class Protocol(Settings):
    """A way of training."""

    run: Run = Run()
    methods: dict[str, Run] = {}
    """Settings of single methods under this protocol."""
