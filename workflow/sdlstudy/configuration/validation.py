"""Cross-field validation: names that refer to nothing, and settings that exclude each other.

Each problem is one line that begins with the path of the key.
"""

from collections.abc import Iterator, Mapping

from peers.settings import PeerConfig
from sdlcore.config import Config, check_division
from sdlcore.extraction.config import LanguageSource
from sdlcore.interop.settings import ImportConfig
from sdlcore.solvers.settings import SolverConfig
from sdlcore.suggestions import did_you_mean
from sdlstudy.configuration.anchorings import unknown_in_anchorings, unsound_anchors
from sdlstudy.configuration.whole import Configuration
from sdlstudy.settings.cells import Cell, method_settings, run_settings, sets_itself, start_cell, trained_settings
from sdlstudy.settings.codes import CodesConfig
from sdlstudy.settings.names import METHOD, unknown
from sdlstudy.settings.runs import RunSettings
from sdlstudy.settings.sources import Language
from sdlstudy.settings.study import Study

SHARED = set(LanguageSource.model_fields) - {"layer", "layers", "site", "target_site"}
"""Settings that are equal in all sources of one pass."""

DEPENDENT_ON_STEPS = {"resample_every", "reorder_every"}
"""Settings that few steps leave without effect; a trial of a configuration with few steps is no mistake."""


def inconsistencies(config: Configuration) -> Iterator[str]:
    """Check a configuration of the right shape before its sweeps are expanded. Most problems are unknown names."""
    sources = config.sources
    yield from doubled_sources(config)
    for kind, group in sources:
        for name, source in group.items():
            # benches are checked later, together with the variants that sweeps add
            if kind != "bench":
                yield from (f"sources.{kind}.{name}.{key}: {problem}" for key, problem in source.inconsistencies())
    yield from unlike_in_one_pass(sources.language)
    for name, source in sources.language.items():
        path = f"sources.language.{name}"
        if source.stream and source.shards > 1:
            yield f"{path}.stream: stores no rows, but shards is {source.shards}; leave one out"
    for protocol, settings in config.protocols.items():
        yield from unknown(f"protocols.{protocol}.methods", settings.methods, config.methods, METHOD)
    for path, product in config.products_by_path().items():
        yield from product.unknown_names(path, config)
    yield from unknown_in_anchorings(config)


def unlike_in_one_pass(sources: Mapping[str, Language]) -> Iterator[str]:
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
        differing = [key for key in ours if ours[key] != theirs[key]]
        if differing:
            keys = ", ".join(differing)
            yield f"{path}.one_pass: differs from {other} in {keys}; sources of one pass may differ only in their sites"


def doubled_sources(study: Study) -> Iterator[str]:
    """Yield an error for each name that sources of different kinds share."""
    names = [name for _, group in study.sources for name in group]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"sources: {name} is used under two kinds; names of sources are unique"


def inconsistent_benches(study: Study) -> Iterator[str]:
    """Yield the settings of benches that exclude each other."""
    for name, bench in study.sources.bench.items():
        for key, problem in bench.inconsistencies():
            yield f"sources.bench.{name}.{key}: {problem}"


def inconsistent_runs(config: Configuration) -> Iterator[str]:
    """Check the settings of every run in tables and figures, once per combination. Names were checked before."""
    evaluated_cells = dict.fromkeys(
        cell for product in config.products_by_path().values() for cell in product.cells(config)
    )
    combinations = set()
    for cell in dict.fromkeys([*config.cells(), *evaluated_cells, *config.all_cells()]):
        combination = (cell.source, cell.method, cell.protocol, cell.anchoring)
        if combination not in combinations:
            combinations.add(combination)
            yield from _inconsistent_run(config, cell, cell in evaluated_cells)
    yield from _unused_methods(config, {method for _, method, *_ in combinations})
    yield from _without_effect(config)
    for path, product in config.products_by_path().items():
        yield from product.unsound(path, config)


def _unused_methods(config: Configuration, used_methods: set[str]) -> Iterator[str]:
    """Check unused methods without an activation, since their name may be misspelt."""
    for name, method in config.methods.items():
        if name in used_methods or "activation" in method.model_fields_set:
            continue
        try:
            method_settings(method)
        except ValueError as error:
            hint = did_you_mean(name, [other for other in config.methods if other != name])
            yield f"methods.{name}: {error}; no table or figure uses it{hint}"


def _without_effect(config: Configuration) -> Iterator[str]:
    """Yield settings of a source's ``run`` that have no effect, because each of its methods overrides them."""
    cells = [cell for cell in dict.fromkeys(config.cells()) if not config.methods[cell.method].is_given]
    for kind, group in config.sources:
        for name, source in group.items():
            source_cells = [cell for cell in cells if cell.source == name]
            for key in sorted(source.run.model_fields_set):
                if source_cells and all(sets_itself(config, cell, key) for cell in source_cells):
                    say = f"methods: {{{source_cells[0].method}: {{{key}: {getattr(source.run, key)}}}}}"
                    yield f"sources.{kind}.{name}.run.{key}: has no effect, since each method there sets it; use {say}"


def _inconsistent_run(config: Configuration, cell: Cell, is_evaluated: bool) -> Iterator[str]:
    """Check one run. If metrics of the run are needed (``is_evaluated``), its anchors must be valid too."""
    path, source = _path(config, cell), config.source(cell.source)
    try:
        run = run_settings(config, cell)
    except ValueError as error:
        yield f"{path}: {error}"
        return
    if not isinstance(run, Config):
        kinds = {SolverConfig: "a solver", PeerConfig: "another library", ImportConfig: "an imported dictionary"}
        kinds |= {CodesConfig: "codes by search"}
        kind = kinds[type(run)]
        if cell.anchoring != "none":
            yield f"{path}: {kind} takes no anchors; use it with anchorings: [none]"
        if source.is_streamed and not isinstance(run, CodesConfig):
            yield f"{path}: {kind} reads stores; set sources.{source.kind}.{cell.source}.stream to false"
    if isinstance(run, CodesConfig) and (start := start_cell(config, cell)) is not None:
        model = trained_settings(config, start).model
        if model.pair != "sae" or model.activation == "abstopk":
            found = f"{start.method} has pair {model.pair}, activation {model.activation}"
            yield f"{path}: search needs pair sae and latents that are never negative, but {found}"
    if isinstance(run, Config) and (problem := check_division(run, config.processes, config.split)):
        yield f"{path}: {problem}"
    if isinstance(run, Config) and run.contrast and not source.has_neighbours:
        yield f"{path}: contrast compares neighbouring tokens, which only sources of kind language have"
    if run.pair != "sae" and not source.has_target:
        yield f"{path}: pair {run.pair} needs a source with a target; {source.how_target.format(name=cell.source)}"
    if run.pair == "transcoder" and source.n_sites > 2:
        problem = f"pair transcoder reads one site and writes another, but {cell.source} has {source.n_sites} sites"
        yield f"{path}: {problem}; give it two layers"
    clip = config.clip(cell.source)
    rows = source.rows[0] if clip is None else clip.images_taken[0]
    yield from _batch_beyond_rows(path, run, rows)
    anchoring = config.reference_anchoring(cell.source) if cell.anchoring == "none" else cell.anchoring
    if is_evaluated and anchoring is not None and isinstance(run, Config):
        yield from unsound_anchors(config, cell, anchoring, run.model)


def batches_beyond_rows(config: Configuration, source: str, rows: int, width: int) -> Iterator[str]:
    """Yield the runs whose batches are larger than their source. ``rows`` and ``width`` come from its array."""
    turned = f"; rows are samples: transpose the array if it has {width}" if width > rows else ""
    for cell in {(cell.method, cell.protocol): cell for cell in config.all_cells() if cell.source == source}.values():
        for problem in _batch_beyond_rows(_path(config, cell), run_settings(config, cell), rows):
            yield problem + turned


def _batch_beyond_rows(path: str, run: RunSettings, rows: int | None) -> Iterator[str]:
    if isinstance(run, SolverConfig | ImportConfig | CodesConfig):
        return
    if rows is not None and run.batch_size > rows:
        yield f"{path}: batch_size {run.batch_size} exceeds the source's {rows} train_samples"


def _path(config: Configuration, cell: Cell) -> str:
    around = f"sources.{cell.source}"
    if not config.methods[cell.method].is_given:
        around += f".run and protocols.{cell.protocol}"
    return f"methods.{cell.method} (with {around})"
