"""Settings shared by all tests."""

import gc
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

# before torch starts its threads: on busy cores, spinning threads take ten times as long
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import hypothesis
import pytest
import torch

# before anything loads Triton: without a GPU its kernels are interpreted
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from sdlcore.evaluation.metrics import METRICS
from sdlcore.plugins import registry as plugins

REPOSITORY = Path(__file__).parents[1]

# a shared machine pauses tests at will, so no example has a deadline
hypothesis.settings.register_profile("sdlcore", deadline=None, max_examples=30)
hypothesis.settings.register_profile("thorough", deadline=None)
hypothesis.settings.load_profile("sdlcore")
# the tests' computations are too small for a second thread, which a parallel test can use instead
torch.set_num_threads(1)
# processes started by tests find the package as the pipeline's jobs do
os.environ["PYTHONPATH"] = os.pathsep.join(str(REPOSITORY / folder) for folder in ("src", "workflow"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first; at the end, each would occupy one xdist process while others idle.

    These are the files that run pipelines, of which the first trains in its own process, so that the others copy its
    compiled files with the checkout; and trainings of several processes.
    """
    items.sort(
        key=lambda item: (
            "workflow" not in item.path.parts,
            item.path.name != "test_language.py",
            item.path.name not in ("test_distributed.py", "test_kill.py"),
        )
    )


def pytest_collection_finish() -> None:
    """Exclude the many objects of imported libraries from garbage collection, also in forks."""
    gc.freeze()


def script(name: str) -> Callable[..., None]:
    """Return the main function of a script of the workflow."""
    main: Callable[..., None] = _module_of(name).main
    return main


def _module_of(name: str) -> ModuleType:
    """Import a script of the workflow as a module, which tyro needs to read its source."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", REPOSITORY / f"workflow/scripts/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_run(out: Path, store: Path, settings: dict[str, Any], seed: int = 0, **options: Any) -> None:
    """Make a run of the workflow on the CPU, as its jobs do."""
    train = _module_of("train")
    train.main(train.Run(seed, store, out, **{"device": "cpu", **options}), settings=settings)


@pytest.fixture
def interruptible():
    """Let SIGINT interrupt this process, because shells start background jobs with that signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def registering() -> Iterator[None]:
    """Unregister and unload afterwards the plugins that are imported in the block."""
    modules, metrics = set(sys.modules), dict(METRICS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "_REGISTERED", dict(plugins._REGISTERED))
        patch.setattr(sys, "path", list(sys.path))
        yield
    METRICS.clear()
    METRICS.update(metrics)
    for name in [name for name, module in sys.modules.items() if name not in modules and _is_foreign(module)]:
        del sys.modules[name]


@pytest.fixture
def registry():
    """Unregister and unload the plugins of a test afterwards."""
    with registering():
        yield


def _is_foreign(module):
    """Return whether a module belongs neither to sdlcore nor to an installed library."""
    file = getattr(module, "__file__", None) or ""
    return file.endswith(".py") and not file.startswith(
        (*os.environ["PYTHONPATH"].split(os.pathsep), sys.prefix, sys.base_prefix)
    )
