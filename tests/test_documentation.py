"""What the documentation tells people to type works."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from sdlcore.study.configuration.loading import configure, load_yaml
from tests.conftest import REPOSITORY

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "config/README.md",
    "docs/activations.md",
    "docs/anchors.md",
    "docs/architecture.md",
    "docs/cluster.md",
    "docs/exporting.md",
    "docs/extending.md",
    "docs/figures.md",
    "docs/inside-a-model.md",
    "docs/language-models.md",
    "docs/metrics.md",
    "docs/peers.md",
    "docs/reading-latents.md",
    "docs/solvers.md",
    "docs/store.md",
    "docs/theory.md",
    "docs/verdicts.md",
]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (REPOSITORY / page).read_text(), flags=re.DOTALL)


def test_a_store_of_ones_own_is_written_trained_on_and_opened_as_the_readme_says(tmp_path):
    write, use = blocks("README.md", "python")
    (train,) = [block for block in blocks("README.md", "sh") if "train.py" in block]
    train = train.replace("workflow/scripts/train.py", shlex.quote(str(REPOSITORY / "workflow/scripts/train.py")))
    train = train.replace("PYTHONPATH=src", f"PYTHONPATH={shlex.quote(str(REPOSITORY / 'src'))}")
    train = train.replace("python ", f"{shlex.quote(sys.executable)} ")
    for command in ([sys.executable, "-c", write], ["bash", "-ec", train], [sys.executable, "-c", use]):
        done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine/model.safetensors").exists()


def test_what_the_page_of_the_store_shows_runs(tmp_path):
    code = "\n".join(blocks("docs/store.md", "python"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"mine.h5", "train", "train.h5"}


def test_what_the_page_on_exporting_shows_runs(tmp_path):
    code = "\n".join(blocks("docs/exporting.md", "python"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("circuit-tracer cannot express a topk autoencoder: it opens transcoders, ")
    exported = {path.name for path in (tmp_path / "exported").iterdir()}
    assert exported == {"saelens", "dictionary_learning", "layers.5", "gpt2-set"}


def test_what_the_page_of_the_theorems_shows_runs():
    (code,) = blocks("docs/theory.md", "python")
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.0 ")
    assert "True" in done.stdout.splitlines()[-1]


def test_what_the_page_on_latents_shows_runs_and_says_what_the_law_does():
    (code,) = blocks("docs/reading-latents.md", "python")
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *found, shrunk = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    for cosine, said in found:
        assert cosine == pytest.approx(said, abs=0.02)
    assert shrunk == pytest.approx((0.785, 0.765), abs=5e-4)


def test_what_the_page_on_models_shows_runs(tmp_path):
    """In a folder with a tiny model, which has fewer layers, and a dictionary of it."""
    from sdlcore.model.saving import save_model
    from sdlcore.model.sparse_coder import SparseCoder
    from sdlcore.random_streams import torch_stream
    from sdlcore.run import ModelConfig
    from tests.sources.language.tiny_llama import SIZES, documents, save_tiny_llama

    save_tiny_llama(tmp_path / "models/my-llama")
    width = (SIZES["hidden_size"],)
    coder = SparseCoder(ModelConfig(activation="topk", k=64, n_q=800), width, width, torch_stream(0, "coder"))
    save_model(tmp_path / "results/mine/runs/mine/topk/best/none/seed0/model.safetensors", coder, {})
    (tmp_path / "data").mkdir()
    (tmp_path / "data/corpus.jsonl").write_text("\n".join(json.dumps(text) for text in documents(100)))
    code = "\n".join(blocks("docs/inside-a-model.md", "python")).replace("layer=12", "layer=2")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "latent 724" in done.stdout
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {
        "index.html",
        "latent_31.html",
        "latent_724.html",
    }
    (batch,) = json.loads((tmp_path / "upload.json").read_text())["batches"]
    assert [feature["index"] for feature in batch] == [724, 31]


WITHOUT_YAML = (
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/cluster.md",
    "docs/inside-a-model.md",
    "docs/metrics.md",
    "docs/reading-latents.md",
    "docs/theory.md",
)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in WITHOUT_YAML])
def test_configurations_shown_are_valid(page, registry, tmp_path, monkeypatch):
    # a block that begins with the name of a file is a plugin of the configurations
    for block in blocks(page, "python"):
        if named := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / named[1]).write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    shown = [yaml.safe_load(block) for block in blocks(page, "yaml")]
    assert shown
    for change in shown:
        configure({"name": "part"} | change, load_yaml("config/config.yaml"))


@pytest.mark.parametrize("page", PAGES)
def test_links_and_files_that_pages_name_exist(page):
    text = (REPOSITORY / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    named = re.findall(r"`((?:src|docs|config|workflow|tests)/[\w./]+)`", text)
    for path in links:
        assert ((REPOSITORY / page).parent / path).exists(), path
    for path in named:
        assert (REPOSITORY / path).exists(), path


def test_the_makefile_has_the_targets_that_pages_name():
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    pages = "\n".join((REPOSITORY / page).read_text() for page in PAGES)
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", pages, flags=re.MULTILINE))
    assert named <= targets
    assert {"run", "test", "lock"} <= named
