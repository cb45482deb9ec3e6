"""Evaluate one trained dictionary on samples that it did not see."""

import logging
from pathlib import Path
from typing import Any

import torch

from peers.settings import PeerConfig
from sdlcore.command_line import cli
from sdlcore.data.anchors import load_anchors
from sdlcore.data.reading import content_digest, open_checked
from sdlcore.data.references import load_references
from sdlcore.evaluation.evaluate import evaluate_coder
from sdlcore.evaluation.ground_truth import GroundTruth
from sdlcore.evaluation.metric_cache import finished_metrics
from sdlcore.evaluation.origin import check_origin
from sdlcore.evaluation.plugin_metrics import parts_of_metrics
from sdlcore.interop.settings import ImportConfig
from sdlcore.model.saving import load_model
from sdlcore.random_streams import stream
from sdlcore.run import RunConfig
from sdlcore.settings import Json
from sdlcore.solvers.settings import SolverConfig
from sdlcore.sources.bench.settings import Hierarchy
from sdlcore.storage.checksums import with_checksum
from sdlcore.storage.files import provenance, write_json


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
        settings: the run's settings; defaults and settings that do not apply may be left out
        references: true features or class means of the source, if it has them
        anchors: anchors that decide which features count as anchored
        hierarchy: parents and children of the bench, if it has a hierarchy
        finished: pattern of the folders of finished runs; metrics of the same dictionary are copied from there
    """
    torch.set_num_threads(1)
    seed = cell[-1]
    kinds: dict[str, type[RunConfig | SolverConfig | PeerConfig | ImportConfig]]
    kinds = {"solver": SolverConfig, "peer": PeerConfig, "model": ImportConfig}
    kind = next((kind for key, kind in kinds.items() if key in settings), RunConfig)
    config = kind.from_dict(settings)
    check_origin(model, config.to_dict(), seed, trained_on)
    run: dict[str, Json] = dict(zip(("source", "method", "protocol", "anchoring", "seed"), cell, strict=True))
    inputs: dict[str, Json] = {"model": content_digest(model), "store": content_digest(store)}
    given_files = {"references": references, "anchors": anchors}
    inputs |= {name: content_digest(path) if path else None for name, path in given_files.items()}
    judged_by = hierarchy and hierarchy.to_dict()
    judges = load_references(references) if references else None
    metric_parts = parts_of_metrics(judges is not None, judges is not None and judges.classes is None)
    facts = provenance(__file__, [*config.sigma_parts, *metric_parts], inputs=inputs, hierarchy=judged_by)
    if stored_metrics := finished_metrics(finished, output.name, facts, seed):
        write_json(output, with_checksum(stored_metrics | {"run": run}))
        return
    truth = GroundTruth.of(judges, load_anchors(anchors) if anchors else None, hierarchy) if judges else None
    with open_checked(store) as opened:
        evaluation = evaluate_coder(load_model(model), opened, truth, stream(seed, "chance"))
    content: dict[str, Json] = {
        "run": run,
        "metrics": evaluation.metrics,
        "chance": evaluation.chance,
        "features": evaluation.features,
        "provenance": facts,
    }
    write_json(output, with_checksum(content))
    for name, value in evaluation.metrics.items():
        logging.info("%s %s", name, value)


if __name__ == "__main__":
    cli(main, log="%(message)s")
