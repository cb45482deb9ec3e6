"""The whole configuration: a study and its products."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, WrapValidator, create_model
from typing_extensions import TypeAliasType

from sdlcore.config import is_centred
from sdlstudy.products.product import Product
from sdlstudy.products.registry import registered
from sdlstudy.products.settings_table import SettingsTable
from sdlstudy.products.tables import Compared, Table
from sdlstudy.settings.cells import Cell, unchecked_settings
from sdlstudy.settings.fields import Settings, left_out
from sdlstudy.settings.files import Files
from sdlstudy.settings.sources import ClassMeans, Clip, File, Plugin
from sdlstudy.settings.study import Study

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
_AnyTables = dict[TableName, Table | SettingsTable | None]
_TABLES = TypeAdapter(dict[TableName, Table | None], config=ConfigDict(strict=True, regex_engine="python-re"))
_SETTINGS = TypeAdapter(dict[str, SettingsTable | None], config=ConfigDict(strict=True))


def _check_tables(tables: Any, _: Any) -> Any:
    """Validate table3, which shows settings, by another model than the other tables."""
    if not isinstance(tables, dict) or "table3" not in tables:
        return _TABLES.validate_python(tables)
    checked: dict[str, Any] = _TABLES.validate_python({n: spec for n, spec in tables.items() if n != "table3"})
    checked |= _SETTINGS.validate_python({"table3": tables["table3"]})
    return {name: checked[name] for name in tables}


def _product_fields(part: str) -> dict[str, Any]:
    """Return the fields of the products directly under a key of the configuration, by name."""
    fields: dict[str, Any] = {}
    for key, cls in registered().items():
        above, _, name = key.rpartition(".")
        if above == part:
            text = " ".join((cls.__doc__ or "").split())
            fields[name] = (cls | None, left_out() if part else Field(default=None, description=text))
    return fields


# the products declare the fields directly under the configuration and under figures
if TYPE_CHECKING:

    class _Figures(Settings): ...

    class _StudyWithProducts(Study): ...
else:
    _Figures = create_model("_Figures", __base__=Settings, **_product_fields("figures"))
    _StudyWithProducts = create_model("_StudyWithProducts", __base__=Study, **_product_fields(""))


class Figures(_Figures):
    """Figures of a configuration. Null removes a figure of the default configuration."""


class Configuration(_StudyWithProducts):
    """A configuration is config/config.yaml with the files given by --configfile merged over it. If they add their own
    activations, tables and figures of config/config.yaml are left out (see own). Unknown keys are refused.
    """

    own: Compared | None = None
    """The table own_<source> of each new source that no table or figure names. A source is new if the default lacks it
    and its kind is neither bench nor synth. If the samples have no classes, the table leaves out anchors drawn from
    classes. Null for no such tables."""
    tables: Annotated[_AnyTables, WrapValidator(_check_tables)] = {}
    """Tables of runs (table3: of settings). A name is table1 to table7, as the paper's table to compare with
    (resources/paper/numbers.csv), or own_<name>; null leaves a table of the default out."""
    figures: Figures = Figures()
    """Figures of the paper, and of convergence."""

    def products_by_path(self) -> dict[str, Product]:
        """Return the products that the configuration names, by the path of their key."""
        products: dict[str, Product] = {
            f"tables.{name}": table.named(name) for name, table in self.tables.items() if table is not None
        }
        for key in registered():
            above, _, name = key.rpartition(".")
            product = getattr(self.figures if above else self, name)
            if product is not None:
                products[key] = product.named(name)
        return products

    def products(self) -> dict[str, Product]:
        """Return all products by name."""
        return {path.rpartition(".")[-1]: product for path, product in self.products_by_path().items()}

    def whole(self) -> list[Product]:
        """Return the products that a plain ``snakemake`` makes. Others must be requested by name."""
        return [product for product in self.products_by_path().values() if not product.alone]

    def cells(self) -> list[Cell]:
        """Return every run whose metrics `whole` needs, each once."""
        return list(
            dict.fromkeys(cell for product in self.whole() if product.evaluated for cell in product.cells(self))
        )

    def all_cells(self) -> list[Cell]:
        """Return every run that `whole` needs, each once, including runs without metrics."""
        return list(dict.fromkeys(cell for product in self.whole() for cell in product.cells(self)))

    def reference_anchoring(self, source: str) -> str | None:
        """Return the anchoring that divides the features of a source's runs without anchors, or None.

        The first anchoring that a table or figure compares with such runs is chosen. A bench without any comparison
        gets the first anchoring of the study, unless there are more anchors than features. Other sources get
        None, since they may have too few classes for it.
        A table divides features by its own anchoring.
        """
        names = {name for product in self.products_by_path().values() for name in product.anchorings_on(self, source)}
        candidates = [name for name in self.anchorings if name in names]
        features = self.source(source).n_features
        if not candidates and features is not None:
            first = list(self.anchorings)[:1]
            candidates = [name for name in first if (self.anchorings[name].n_anchors or 0) <= features]
        return next(iter(candidates), None)

    def class_means(self, source: str) -> ClassMeans:
        """Return the settings of a labelled source's class means. Unset ``centred`` follows the source's runs."""
        labelled = self.source(source)
        assert isinstance(labelled, Clip | File | Plugin), f"samples of {source} have no classes"
        settings = labelled.class_means
        centred = settings.centred
        if centred is None:
            cells = [
                cell
                for product in self.products_by_path().values()
                for cell in product.cells(self)
                if cell.source == source
            ]
            runs = {(cell.method, cell.protocol) for cell in cells}
            centred = any(is_centred(unchecked_settings(self, source, *run)) for run in runs)
        return settings.changed(centred=centred)

    def files(self, paper: str = "resources/paper") -> Files:
        """Return the paths of the study's files."""
        divided = {source: self.reference_anchoring(source) for source in self.all_sources()}
        labelled = [name for name, source in self.all_sources().items() if source.is_labelled]
        centred = {name: bool(self.class_means(name).centred) for name in labelled}
        return Files(self, {source: name for source, name in divided.items() if name is not None}, paper, centred)
