"""Settings of protocols and methods. A run merges several of these dictionaries (`cells.run_settings`)."""

from collections.abc import Container
from typing import Annotated, Any

from pydantic import ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import TypeAliasType

from peers.settings import PeerConfig
from sdlcore.config import Config
from sdlcore.interop.settings import ImportConfig
from sdlcore.settings import Settings
from sdlcore.solvers.settings import SolverConfig
from sdlstudy.settings.codes import CodesConfig
from sdlstudy.settings.fields import Identifier, left_out

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


KINDS: dict[type[RunSettings], str] = {
    Config: "trainings",
    SolverConfig: "solvers",
    PeerConfig: "trainings of other libraries",
    ImportConfig: "imported dictionaries",
    CodesConfig: "codes by search",
}
"""Class of a run's settings -> such runs in words."""
OF_ANCHORINGS = ("lambda_anchor", "anchor_form", "anchor_until", "anchor_fall", "anchor_cosine")
"""Settings that a run takes from its anchoring alone."""


def _properties(*kinds: type[RunSettings]) -> dict[str, JsonSchemaValue]:
    """Return the settings of some kinds of runs in the JSON schema. The first kind describes a shared setting."""
    described = {
        name: part for kind in reversed(kinds) for name, part in kind.model_json_schema()["properties"].items()
    }
    return {name: part for name, part in described.items() if name not in OF_ANCHORINGS}


class _OfTrainings:
    """Describe the settings of trainings in the JSON schema of a dictionary."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "object", "properties": _properties(Config)}


Run = TypeAliasType("Run", Annotated[dict[str, Any], _OfTrainings()])
"""Some settings of trainings, as given. They are validated with all other settings of a run."""


class Method(Settings):
    """A pair, a sigma and loss terms (section 2.4); or a solver, another library, a file or codes by search, with the
    settings of its runs."""

    model_config = ConfigDict(extra="allow")

    warm_start: Identifier | None = left_out()
    """Another method to start from. Its dictionary initialises the first latents, or all atoms of a solver, or has the
    rows that codes are searched for. It is the dictionary of the run with the same source, protocol and seed, without
    anchors."""
    like: Identifier | None = left_out()
    """Another method to inherit from. This method takes its settings, including settings in protocols, and overrides
    them with its own. An activation without k inherits no k."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        schema["properties"] |= _properties(Config, *MADE_BY.values())
        return schema | {"additionalProperties": True}  # settings of plugins

    @property
    def run(self) -> dict[str, Any]:
        """The settings of its runs, as given."""
        return dict(self.model_extra or {})

    @property
    def settings(self) -> type[RunSettings]:
        """The class of the settings of its runs: training, solver, other library, imported dictionary or codes."""
        return kind_of_run(self.run)

    @property
    def is_given(self) -> bool:
        """Whether settings in the ``run`` of protocols and sources do not apply: only to trainings they do."""
        return self.settings in (SolverConfig, ImportConfig, CodesConfig)


class Protocol(Settings):
    """A way of training."""

    run: Run = {}
    """Settings for all runs under this protocol."""
    methods: dict[str, Run] = {}
    """Settings for single methods under this protocol."""
