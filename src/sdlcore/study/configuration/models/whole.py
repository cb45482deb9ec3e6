"""The whole configuration."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen
from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import core_schema
from typing_extensions import TypeAliasType

from sdlcore.study.configuration.models.fields import AnchoringName, Identifier, Seeds, Settings, Text
from sdlcore.study.configuration.models.runs import Method, Protocol
from sdlcore.study.configuration.models.shown import (
    Anchoring,
    BenchTable,
    Compared,
    Discovery,
    Figures,
    Frontier,
    SettingsTable,
    Table,
)
from sdlcore.study.configuration.models.sources import Sources

TableName = TypeAliasType(
    "TableName",
    Annotated[
        str,
        Field(
            pattern=r"^(table[1-7]|own_[a-z][a-z0-9_]*)\Z",
            description="table1 to table7, or own_<name>, which has no counterpart in the paper",
        ),
    ],
)
_APART = TypeAdapter(dict[Literal["table3"], SettingsTable | None])


class _SettingsApart:
    """Has table3, which shows settings, checked by a model of its own."""

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        others = handler.generate_schema(dict[TableName, Table | None])
        return core_schema.no_info_wrap_validator_function(self.check, others)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        apart = handler(_APART.core_schema)
        return handler(schema) | {"properties": {"table3": apart["additionalProperties"]}}

    @staticmethod
    def check(given: Any, others: Callable[[Any], Any]) -> Any:
        if not isinstance(given, dict) or "table3" not in given:
            return others(given)
        tables = others({name: spec for name, spec in given.items() if name != "table3"})
        tables |= _APART.validate_python({"table3": given["table3"]}, strict=True)
        return {name: tables[name] for name in given}


class Configuration(Settings):
    """Every configuration is config/config.yaml with the files given by --configfile merged over it, less what own
    leaves out. Unknown keys are refused.
    """

    name: Identifier
    """Results go to results/<name>, logs to logs/<name>."""
    seeds: Seeds
    """A seed redraws matrices, samples, initialisation, order and anchors, each from a stream of its own."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. auto takes a GPU where torch sees one. Not tracked, a change retrains nothing."""
    processes: Annotated[int, Ge(1), Le(1000)] = 1
    """Processes that train each dictionary together, on GPUs each on one of its own. Not tracked, a change retrains
    nothing."""
    split: Literal["samples", "latents"] = "samples"
    """What these processes divide among them: the samples of each batch (data parallel), or the latents of a dictionary
    (tensor parallel) that is too large for one GPU. Not tracked."""
    tensorboard: bool = True
    """Write the history of each run as TensorBoard event files too, into tensorboard/ beside the model. Not tracked."""
    wandb: Text | None = None
    """Project of Weights & Biases that the history of each run is sent to; null for none. Needs the package wandb. Not
    tracked."""
    cache: Text = "cache"
    """Folder for what is downloaded once (wheels, models), relative to the working directory or absolute."""
    peers_python: Text = "benchmarks/.venv/bin/python"
    """Interpreter that has other libraries (docs/peers.md), relative to the checkout or absolute; without --use-conda,
    runs of methods with peer take it. Not tracked."""
    sources: Sources
    """Where activations come from, by kind and name. Names are unique over kinds."""
    methods: Annotated[dict[Identifier, Method], MinLen(1)]
    """A method picks a pair, a sigma and loss terms (section 2.4); any run setting may stand here."""
    protocols: Annotated[dict[Identifier, Protocol], MinLen(1)]
    """Ways of training. A run's settings are its protocol's run, then its source's run, then its method, then what its
    protocol has for that method."""
    anchorings: dict[AnchoringName, Anchoring] = {}
    """Named ways of anchoring (section 4); "none" exists always."""
    own: Compared | None = None
    """The table that a source of kind clip, llama or file gets where the default lacks it and no table or figure asks
    for it, own_<source>; without anchors that are drawn from classes where its samples have none. Null for none."""
    tables: Annotated[dict[TableName, Table | SettingsTable | None], _SettingsApart()] = {}
    """Tables of runs (table3 of settings), by the name of the paper's table that they stand beside
    (resources/paper/<name>.csv), or own_<name>; null leaves a table of the default out."""
    solvers: BenchTable | None = None
    """Runs of the table of solvers (docs/solvers.md); null for none."""
    harder: BenchTable | None = None
    """Runs of the table of benches that are harder than the paper's (docs/benches.md); null for none."""
    encoders: BenchTable | None = None
    """Runs of the table of encoders that can be read (docs/solvers.md); null for none."""
    frontier: Frontier | None = None
    """Where methods break, one setting of a bench after the other, a panel each (docs/solvers.md); null for none."""
    discovery: Discovery | None = None
    """Runs of the table that compares discovered anchors with none and with given ones (docs/anchors.md); null for
    none."""
    figures: Figures = Figures()
    """Figures of the paper, and of convergence."""
