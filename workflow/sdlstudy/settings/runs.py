"""Settings of protocols and methods, each checked by the library class that declares it."""

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Self, TypeVar, get_args

from pydantic import ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema

from peers.settings import PeerConfig
from sdlcore.config import Config
from sdlcore.interop.settings import ImportConfig
from sdlcore.plugins.registry import Extension, Kind, own_settings
from sdlcore.settings import Settings
from sdlcore.solvers.settings import SolverConfig
from sdlstudy.settings.codes import CodesConfig
from sdlstudy.settings.fields import Identifier, left_out
from sdlstudy.settings.json_schema import Generator

USERS: dict[str, tuple[type[Settings], ...]] = {
    "trainings": (Config,),
    "solvers": (SolverConfig,),
    "other libraries": (PeerConfig,),
    "imported dictionaries": (ImportConfig,),
    "codes by search": (CodesConfig,),
}
"""Kinds of runs -> the classes that declare their settings."""
RunSettings = Config | SolverConfig | PeerConfig | ImportConfig | CodesConfig
MADE_BY: dict[str, type[RunSettings]] = {
    "solver": SolverConfig,
    "peer": PeerConfig,
    "model": ImportConfig,
    "search": CodesConfig,
}
"""The setting that makes a method something else than a training -> the class of its runs' settings."""


def kind_of_run(settings: Container[str]) -> type[RunSettings]:
    """Return the class of a run's settings, by the names of the settings that are given."""
    return next((kind for name, kind in MADE_BY.items() if name in settings), Config)


AnySettings = TypeVar("AnySettings", bound=Settings)
HOLDING = ("anchor_form", "anchor_until", "anchor_fall", "anchor_cosine")
"""Settings of anchors other than their weight."""
NOT_GIVEN = ("pursuit", "lambda_anchor", *HOLDING)
"""Settings that a method cannot give: a run takes them from its kind or its anchoring."""
OF_PLUGINS: dict[str, tuple[Kind, ...]] = {"trainings": ("activation", "loss term"), "solvers": ("solver",)}
"""Kinds of runs -> the kinds of plugins that add settings to them."""


def defined(*users: str) -> Iterator[tuple[str, type[Settings], str]]:
    """Yield each setting of some kinds of runs as its kind, the class that declares it, and its name."""
    for user in users:
        for cls in USERS[user]:
            yield from ((user, cls, name) for name in cls.model_fields if name not in NOT_GIVEN)


@cache
def _declared_by(users: tuple[str, ...]) -> dict[str, type[Settings]]:
    """Return setting -> the class that declares it. If several kinds of runs share a name, the first kind counts."""
    classes: dict[str, type[Settings]] = {}
    for _, cls, name in defined(*users):
        classes.setdefault(name, cls)
    return classes


class Layer(Settings):
    """Some settings of runs. Missing settings come from the layers below; the lowest layer is the defaults.

    A layer contains only the settings that are given. Any other setting of its runs reads as None.
    """

    model_config = ConfigDict(extra="allow")
    users: ClassVar[tuple[str, ...]] = ()
    """The kinds of runs whose settings the layer may contain."""

    @classmethod
    def kinds_of_plugins(cls) -> tuple[Kind, ...]:
        """Return the kinds of plugins whose settings the layer may contain."""
        return tuple(kind for user in cls.users for kind in OF_PLUGINS.get(user, ()))

    @model_validator(mode="after")
    def _each_fits(self) -> Self:
        return with_extras(self, _declared_by(self.users), self.kinds_of_plugins())

    def __getattr__(self, name: str) -> Any:
        if name in _declared_by(type(self).users) and name not in (self.model_extra or {}):
            return None
        return super().__getattr__(name)  # type: ignore[misc]

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the settings of the runs to the schema, with a description and a default for each kind of runs."""
        schema = handler.resolve_ref_schema(handler(core))
        texts: dict[str, dict[str, str]] = {}
        defaults: dict[str, list[str]] = {}
        for user, definition, name in defined(*cls.users):
            # None is null in YAML
            text, phrases = definition.text_of(name).replace("None", "null"), texts.setdefault(name, {})
            phrases.setdefault(text, f"For {user}: {text}" if phrases else text)
            default = definition.model_fields[name].default
            defaults.setdefault(name, []).append(f"{json.dumps(default)} for {user}")
        settings: dict[str, JsonSchemaValue] = {}
        for name, definition in _declared_by(cls.users).items():
            described = {"description": f"{' '.join(texts[name].values())} [Default: {', '.join(defaults[name])}]"}
            settings[name] = described | definition.adapter_of(name).json_schema(schema_generator=Generator)
        schema["properties"] = settings | schema.get("properties", {})
        return schema


def with_extras(settings: AnySettings, ours: Mapping[str, type[Settings]], kinds: Sequence[Kind]) -> AnySettings:
    """Check each of a model's extra settings alone, by the library class or the plugin that declares it.

    Raises
    ------
    ValidationError
        With one error for each unknown or invalid setting.
    """
    extra = settings.model_extra or {}
    of_plugins = own_settings(*kinds) if extra.keys() - ours.keys() else {}
    values, errors = dict[str, Any](), list[InitErrorDetails]()
    for name in [*(name for name in ours if name in extra), *(name for name in extra if name not in ours)]:
        if name in of_plugins and name not in ours:
            problem = _misfit(of_plugins[name], name, extra[name])
            errors += [] if problem is None else [problem]
            values[name] = extra[name]
        elif name not in ours:
            errors.append(InitErrorDetails(type="extra_forbidden", loc=(name,), input=extra[name]))
        else:
            try:
                values[name] = ours[name].adapter_of(name).validate_python(extra[name])
            except ValidationError as error:
                errors += [_at(name, detail) for detail in error.errors(include_url=False)]
    if errors:
        raise ValidationError.from_exception_data(type(settings).__name__, errors)
    object.__setattr__(settings, "__pydantic_extra__", values)  # frozen, but not yet handed out
    return settings


def _at(name: str, error: ErrorDetails) -> InitErrorDetails:
    """Turn an error in the value of one setting into an error of the model that contains the setting."""
    kind, context = error["type"], error.get("ctx", {})
    error_type: Any = (
        kind if kind in _KINDS else PydanticCustomError(kind, "{message}", {"message": error["msg"], **context})
    )
    return InitErrorDetails(type=error_type, loc=(name, *error["loc"]), input=error["input"], ctx=context)


_KINDS = set(get_args(core_schema.ErrorType))
"""The kinds of errors that pydantic defines itself."""


def _misfit(plugins: Sequence[Extension], name: str, value: Any) -> InitErrorDetails | None:
    """Return an error if a setting is invalid for every plugin that declares it, otherwise None."""
    problems = []
    for plugin in plugins:
        try:
            plugin.settings.adapter_of(name).validate_python(value)
            return None
        except ValidationError as error:
            problems.append(error.errors(include_url=False)[0]["msg"])
    text = next(filter(None, (plugin.text_of(name) for plugin in plugins)), "")
    message = f"{problems[0]}{f' ({text})' if text else ''}, found {value!r}"
    return InitErrorDetails(
        type=PydanticCustomError("own", "{message}", {"message": message}), loc=(name,), input=value
    )


class Run(Layer):
    """Settings of a run. Missing settings come from the layers below; the lowest layer is sdlcore's defaults."""

    users = ("trainings",)


class Method(Layer):
    """A pair, a sigma and loss terms (section 2.4); or a solver, another library, a file or codes by search, with the
    settings of its runs."""

    users = tuple(USERS)

    warm_start: Identifier | None = left_out()
    """Another method to start from. Its dictionary initialises the first latents, or all atoms of a solver, or has the
    rows that codes are searched for. It is the dictionary of the run with the same source, protocol and seed, without
    anchors."""
    like: Identifier | None = left_out()
    """Another method to inherit from. This method takes its settings, including settings in protocols, and overrides
    them with its own. An activation without k inherits no k."""

    @property
    def settings(self) -> type[RunSettings]:
        """The class of the settings of its runs: training, solver, other library, imported dictionary or codes."""
        return kind_of_run(self.model_fields_set)

    @property
    def is_solver(self) -> bool:
        """Whether a solver makes the dictionary, instead of gradient descent."""
        return self.settings is SolverConfig

    @property
    def is_peer(self) -> bool:
        """Whether another library trains the dictionary."""
        return self.settings is PeerConfig

    @property
    def is_imported(self) -> bool:
        """Whether the dictionary is loaded from a file."""
        return self.settings is ImportConfig

    @property
    def has_codes(self) -> bool:
        """Whether codes are searched for on another method's dictionary."""
        return self.settings is CodesConfig

    @property
    def is_given(self) -> bool:
        """Whether settings in the ``run`` of protocols and sources do not apply: only to trainings they do."""
        return self.is_solver or self.is_imported or self.has_codes

    @property
    def origin(self) -> str:
        """Where the dictionary comes from, for messages about methods that are not trained here."""
        origins = {SolverConfig: "a solver", PeerConfig: "another library's", ImportConfig: "imported"}
        return origins.get(self.settings, "codes by search")


class Protocol(Settings):
    """A way of training."""

    run: Run = Run()
    methods: dict[str, Run] = {}
    """Settings for single methods under this protocol."""
