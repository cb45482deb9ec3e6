"""sdlcore trains, evaluates and prints without the packages of its extras; functions that need one name the extra."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sdlcore.extras import Extra

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
PACKAGES = ("gguf", "jinja2", "matplotlib", "open_clip", "pandas", "PIL", "pyarrow", "sklearn", "tensorboardX", "wandb")

CORE = """
import sys
for package in sys.argv[1:]:
    sys.modules[package] = None

import numpy as np
import sdlcore as sdl
from sdlcore.commands.main import main

bench = sdl.Bench.draw(n=12, n_p=10, sparsity=0.9, seed=0)
x = bench.sample(500)
fitted = sdl.fit(x, activation="topk", k=2, n_q=20, steps=20, batch_size=64, seed=0, progress=False, out="run")
other = sdl.fit(x, activation="topk", k=2, n_q=20, steps=20, batch_size=64, seed=1, progress=False)
print(sdl.evaluate(fitted, bench))
print(sdl.stability([fitted, other]))
labels = np.arange(500) % 3
anchors = sdl.class_means(x, labels)
sdl.export(fitted, "saelens", "exported", model_name="gpt2", hook_name="blocks.5.hook_resid_post")
np.save("x.npy", x)
for arguments in (["evaluate", "run", "run", "--x", "x.npy"], ["evaluate", "run", "--x", "x.npy"]):
    main(arguments)

tasks = {
    "tables": sdl.evaluate(fitted, bench).to_frame,
    "plot": lambda: sdl.plot.recovery(sdl.evaluate(fitted, bench)),
    "sklearn": lambda: sdl.solve(x, "kmeans", n_atoms=20, progress=False),
}
for name, task in tasks.items():
    try:
        task()
    except ModuleNotFoundError as error:
        print(f"ERROR {name}: {error}")
"""


def test_the_core_works_without_the_packages_of_extras(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CORE, *PACKAGES], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
    assert errors == [
        f"ERROR {name}: this needs {package}, which is not installed: pip install 'sdlcore[{name}]'"
        for name, package in {"tables": "pandas", "plot": "matplotlib", "sklearn": "sklearn"}.items()
    ]


@pytest.mark.parametrize("name", Extra.__args__)
def test_an_extra_that_a_message_names_is_declared(name):
    assert name in PROJECT["optional-dependencies"]
