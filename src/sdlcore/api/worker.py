"""Take part in a training that another process has started: `python -m sdlcore.api.worker FOLDER RANK`.

`sdlcore.api.processes` starts this module and writes the folder. If the training fails, the last line of the output is
the error.
"""

import json
import logging
import sys
import warnings
from importlib import import_module
from pathlib import Path

import torch
import torch.distributed as dist

from sdlcore.api.fitting import Fit
from sdlcore.api.loading import load
from sdlcore.api.processes import ANCHORS, HOST, START, TASK, WATCH
from sdlcore.api.sources import stored
from sdlcore.data.anchors import load_anchors
from sdlcore.data.references import load_references
from sdlcore.device import choose_device
from sdlcore.run import RunConfig
from sdlcore.training.distributed import PATIENCE, end_with_parent, joined


def main(folder: Path, rank: int) -> None:
    """Train with the settings and inputs in a folder."""
    end_with_parent()
    warnings.simplefilter("ignore")  # the first process warns
    logging.getLogger().setLevel(logging.ERROR)
    task = json.loads((folder / TASK).read_text(encoding="utf-8"))
    for plugin in task["plugins"]:
        import_module(plugin)
    anchors, watch, start = folder / ANCHORS, folder / WATCH, folder / START
    request = Fit(
        RunConfig.from_dict(task["config"]),
        task["seed"],
        load_anchors(anchors) if anchors.exists() else None,
        load(start) if start.exists() else None,
        load_references(watch) if watch.exists() else None,
        choose_device(task["device"]),
        keep_state=task["keep_state"],
    )
    torch.set_num_threads(task["threads"])
    out = None if task["out"] is None else Path(task["out"])
    store = dist.TCPStore(HOST, task["port"], is_master=False, timeout=PATIENCE)
    with stored(task["x"][0] if len(task["x"]) == 1 else task["x"]) as source:
        store.set(str(rank), "")
        with joined(task["split"], store=store, rank=rank, world_size=task["processes"]):
            request.find(source, task["facts"], [], out)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except Exception as error:
        print(" ".join(f"{error}".split()) or type(error).__name__, file=sys.stderr)
        raise SystemExit(1) from None
