"""Evaluate one trained dictionary on samples that it did not see."""

import json
import logging
from pathlib import Path
from typing import Any

import torch

from sdlcore.benches.config import Hierarchy
from sdlcore.command_line import cli
from sdlcore.data.anchors import load_anchors
from sdlcore.data.reading import ActivationStore, content_digest
from sdlcore.data.references import load_references
from sdlcore.evaluation.evaluate import evaluate_coder
from sdlcore.evaluation.ground_truth import GroundTruth
from sdlcore.evaluation.plugin_metrics import plugins_of_metrics
from sdlcore.identity import ENTRY, finished_files, identity, provenance, require_same
from sdlcore.model.saving import load_model, load_provenance
from sdlcore.random_streams import stream
from sdlcore.settings import Json
from sdlcore.storage.checksums import with_checksum
from sdlcore.storage.files import write_json
from sdlstudy.settings.runs import kind_of_run


def main(
    *,
    cell: tuple[str, str, str, str, int],
    model: Path,
    trained_on: Path,
    settings: dict[str, Any],
    store: Path,
    references: Path | None = None,
    anchors: Path | None = None,
    hierarchy: Hierarchy | None = None,
    finished: str = "",
    output: Path,
) -> None:
    """
    Args:
        cell: source, method, protocol, anchoring and seed of the run
        trained_on: training store that the run must have used; it may have been deleted
        settings: the run's settings; defaults may be left out
        references: true features or class means of the source, if there are any
        anchors: anchors that decide which features count as anchored
        hierarchy: parents and children of a hierarchical bench
        finished: pattern of the folders of finished runs; metrics of the same dictionary are copied from there
    """
    torch.set_num_threads(1)
    seed = cell[-1]
    _require_run(model, kind_of_run(settings).from_dict(settings).non_defaults(), seed, trained_on)
    run: dict[str, Json] = dict(zip(("source", "method", "protocol", "anchoring", "seed"), cell, strict=True))
    given_files = {"model": model, "store": store, "references": references, "anchors": anchors}
    inputs = {name: content_digest(path) for name, path in given_files.items() if path}
    judges = load_references(references) if references else None
    coder = load_model(model)
    metrics = plugins_of_metrics(judges is not None, judges is not None and judges.classes is None)
    judged_by = {} if hierarchy is None else {"hierarchy": hierarchy.to_dict()}
    run_identity = identity("evaluate", judged_by, seed, inputs, coder.config.plugins | metrics)
    for path in finished_files(f"{finished}/{output.name}", run_identity) if finished else ():
        content = json.loads(path.read_text())
        if content == with_checksum(content):
            logging.info("%s evaluates the same dictionary and is finished; its metrics are reused", path)
            write_json(output, with_checksum(content | {"run": run}))
            return
    truth = GroundTruth.of(judges, load_anchors(anchors) if anchors else None, hierarchy) if judges else None
    with ActivationStore(store) as opened:
        evaluation = evaluate_coder(coder, opened, truth, stream(seed, "chance"))
    content = {
        "run": run,
        "metrics": evaluation.metrics,
        "chance": evaluation.chance,
        "features": evaluation.features,
        "provenance": provenance(identity=run_identity),
    }
    write_json(output, with_checksum(content))
    for name, value in evaluation.metrics.items():
        logging.info("%s %s", name, value)


def _require_run(model: Path, settings: dict[str, Json], seed: int, trained_on: Path) -> None:
    """Raise `ValueError` if a model has other settings, another seed or another training store than its run."""
    recorded = load_provenance(model)
    run: Any = recorded.get(ENTRY, {})
    inputs = run.get("inputs", {}) | ({"store": content_digest(trained_on)} if trained_on.is_file() else {})
    requested = identity(run.get("stage", "train"), settings, seed, inputs, run.get("plugins"))
    require_same(model, recorded, {**recorded, ENTRY: requested})


if __name__ == "__main__":
    cli(main, log="%(message)s")
