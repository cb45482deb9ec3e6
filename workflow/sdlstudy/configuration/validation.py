"""Cross-field validation: names that refer to nothing, and runs whose merged settings are invalid.

Each problem is one line that begins with the path of the key. A check is here only if a run would otherwise silently do
something else, or fail after hours.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from peers.settings import PeerConfig
from sdlcore.config import Config, ModelConfig, check_division
from sdlcore.extraction.config import LanguageSource
from sdlcore.solvers.settings import SolverConfig
from sdlcore.suggestions import did_you_mean
from sdlstudy.configuration.whole import Configuration
from sdlstudy.settings.cells import Cell, layers, run_settings, solver_settings, start_cell
from sdlstudy.settings.codes import CodesConfig
from sdlstudy.settings.names import METHOD, unknown
from sdlstudy.settings.runs import KINDS
from sdlstudy.settings.sources import Language

SHARED = set(LanguageSource.model_fields) - {"layer", "layers", "site", "target_site"}
"""Settings that are equal in all sources of one pass."""


def unknown_names(study: Configuration) -> Iterator[str]:
    """Yield the names that refer to nothing, before sweeps are expanded."""
    names = [name for _, group in study.sources for name in group]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"sources: {name} is used under two kinds; names of sources are unique"
    yield from _unlike_in_one_pass(study.sources.language)
    for protocol, settings in study.protocols.items():
        yield from unknown(f"protocols.{protocol}.methods", settings.methods, study.methods, METHOD)
    for name, method in study.methods.items():
        if method.warm_start is not None:
            yield from unknown(f"methods.{name}.warm_start", [method.warm_start], study.methods, METHOD)
        elif method.settings is CodesConfig:
            yield f"methods.{name}.warm_start: missing; search needs the method whose dictionary gets new codes"
    for path, product in study.products_by_path().items():
        yield from product.unknown_names(path, study)
    solvers = [name for name, method in study.methods.items() if method.settings is SolverConfig]
    for name, anchoring in study.anchorings.items():
        if anchoring.discover is not None:
            path = f"anchorings.{name}.discover.method"
            yield from unknown(path, [anchoring.discover.method], solvers, "a method that is a solver")


def _unlike_in_one_pass(sources: Mapping[str, Language]) -> Iterator[str]:
    """Yield the settings that prevent one pass from extracting all sources that name it."""
    first: dict[str, str] = {}
    for name, source in sources.items():
        if source.one_pass is None:
            continue
        path, other = f"sources.language.{name}", first.setdefault(source.one_pass, name)
        if source.stream or source.shards > 1:
            key = "stream" if source.stream else "shards"
            yield f"{path}.{key}: cannot be combined with one_pass or each_layer; leave one out"
        ours, theirs = (settings.model_dump(include=SHARED) for settings in (source, sources[other]))
        if differing := ", ".join(key for key in ours if ours[key] != theirs[key]):
            yield f"{path}.one_pass: differs from {other} in {differing}; one pass has several sites, all else equal"


def inconsistent_runs(study: Configuration) -> Iterator[str]:
    """Check the settings of every run in tables and figures, once per combination. Names were checked before."""
    products = study.products_by_path()
    evaluated = dict.fromkeys(cell for product in products.values() for cell in product.cells(study))
    of_one_seed: dict[Cell, Cell] = {}
    for cell in (*evaluated, *study.all_cells()):
        of_one_seed.setdefault(replace(cell, seed=0), cell)
    for cell in of_one_seed.values():
        yield from _inconsistent_run(study, cell, cell in evaluated)
    yield from _unused_methods(study, {cell.method for cell in of_one_seed})
    for path, product in products.items():
        yield from product.unsound(path, study)


def _unused_methods(study: Configuration, used_methods: set[str]) -> Iterator[str]:
    """Yield methods that no run uses and that are incomplete, probably because their name is misspelt."""
    for name, method in study.methods.items():
        if name not in used_methods and "activation" not in method.run:
            try:
                method.settings.from_dict(method.run)
            except ValueError as error:
                hint = did_you_mean(name, [other for other in study.methods if other != name])
                yield f"methods.{name}: {error}; no table or figure uses it{hint}"


def _given_in(study: Configuration, cell: Cell, key: str) -> str | None:
    """Return the path of the dictionary that gives a setting to a run; None for a default."""
    given = layers(study, cell.source, cell.method, cell.protocol)
    return next((path for path, layer in reversed(given.items()) if key in layer), None)


def _inconsistent_run(study: Configuration, cell: Cell, is_evaluated: bool) -> Iterator[str]:
    """Check one run. If metrics of the run are needed (``is_evaluated``), its anchors must be valid too."""
    path, source = _path(study, cell), study.source(cell.source)
    try:
        run = run_settings(study, cell)
    except ValueError as error:
        key = str(error).partition(":")[0]
        given = _given_in(study, cell, key)
        yield f"{given}.{error}" if given else f"{path}: {error}"
        return
    if not isinstance(run, Config):
        if cell.anchoring != "none":
            yield f"{path}: {KINDS[type(run)]} take no anchors; use anchorings: [none]"
        if source.is_streamed and not isinstance(run, CodesConfig):
            yield f"{path}: {KINDS[type(run)]} read stores; set sources.{source.kind}.{cell.source}.stream to false"
    elif problem := check_division(run, study.processes, study.split):
        yield f"{path}: {problem}"
    elif run.contrast and not source.has_neighbours:
        yield f"{path}: contrast compares neighbouring tokens, which only sources of kind language have"
    start = start_cell(study, cell)
    if isinstance(run, CodesConfig) and start is not None:
        trained = study.methods[start.method].settings is Config and run_settings(study, start)
        if not isinstance(trained, Config) or trained.pair != "sae" or trained.activation == "abstopk":
            yield f"{path}: search needs a training with pair sae and latents that are never negative in warm_start"
    if run.pair != "sae" and not source.has_target:
        targets = "such as n_r of a bench, target of a file or layers of a language model"
        yield f"{path}: pair {run.pair} needs a source with a target, {targets}; {cell.source} has none"
    if run.pair == "transcoder" and source.n_sites > 2:
        yield f"{path}: pair transcoder reads one site and writes one, but {cell.source} has {source.n_sites} sites"
    if isinstance(run, Config | PeerConfig) and (rows := source.rows[0]) is not None and run.batch_size > rows:
        yield f"{path}: batch_size {run.batch_size} exceeds the source's {rows} train_samples"
    anchoring = study.reference_anchoring(cell.source) if cell.anchoring == "none" else cell.anchoring
    if is_evaluated and anchoring is not None and isinstance(run, Config):
        yield from _unsound_anchors(study, cell, anchoring, run.model)


def _unsound_anchors(study: Configuration, cell: Cell, anchoring: str, model: ModelConfig) -> Iterator[str]:
    """Yield why a run cannot train with an anchoring, or be evaluated by its anchors."""
    settings, source = study.anchorings[anchoring], study.source(cell.source)
    path, bench = f"anchorings.{anchoring}", study.bench(cell.source)
    most, what = min((model.n_q, "latents"), (source.n_features or model.n_q, f"features of {cell.source}"))
    if settings.discover is not None:
        most, what = model.n_q, "latents"
        solver = settings.discover.method
        try:
            pair = solver_settings(study.methods[solver]).pair
        except ValueError as error:
            yield f"methods.{solver}: {error}"
            return
        if pair == "transcoder" or (pair == "sae" and model.pair != "sae") or (pair != "sae" and not source.has_target):
            yield (
                f"{path}.discover.method: {solver} has pair {pair}, which finds no anchors for {cell.method} "
                f"(pair {model.pair}) on {cell.source}; expected a solver with pair "
                f"{'crosscoder' if model.pair != 'sae' else 'sae'}"
            )
        if source.is_streamed:
            place = f"sources.{source.kind}.{cell.source}.stream"
            yield f"{place}: anchors are discovered on a stored source; set it to false"
    elif settings.features == "parents":
        if bench is None or bench.hierarchy is None:
            yield f"{path}.features: {cell.source} has no parents; expected a bench with hierarchy"
        else:
            most, what = min((bench.hierarchy.parents, f"parents in {cell.source}"), (model.n_q, "latents"))
    elif source.n_features is None and not source.is_labelled:
        yield f"{path}: {cell.source} has neither true features nor classes to draw anchors from; set discover"
    if settings.n_anchors is not None and settings.n_anchors > most:
        yield f"{path}.n_anchors: {settings.n_anchors} anchors, but only {most} {what}"


def _path(study: Configuration, cell: Cell) -> str:
    around = f"sources.{cell.source}"
    if not study.methods[cell.method].is_given:
        around += f".run and protocols.{cell.protocol}"
    return f"methods.{cell.method} (with {around})"
