"""Configurations with mistakes, or written to do harm, in a real Snakemake."""

import re
import subprocess

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.workflow.conftest import Checkout, snakemake

# text that a shell, or Snakemake's formatting after quoting, could take for more than a name
HARM = "$(touch pwned) `touch pwned`; touch pwned; 'x' \"y\" # é"
NOTHING = {
    "tables": dict.fromkeys(("table1", "table2", "table3", "table4", "table5", "table6", "table7")),
    "figures": dict.fromkeys(("figure4", "figure6", "figure8", "figure9", "figure10", "convergence")),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    """A checkout whose path a shell would split into words."""
    return Checkout(tmp_path_factory.mktemp("new") / f"checkout {HARM}")


def refused(checkout: Checkout, content: bytes, *arguments: str) -> str:
    """Return Snakemake's error for a configuration file that it rejects."""
    (checkout.path / "bad.yaml").write_bytes(content)
    done = snakemake("-n", "--configfile", "bad.yaml", *arguments, where=checkout.path, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    assert not list(checkout.path.glob("pwned"))
    return done.stdout


def test_a_value_is_not_formatted_after_it_was_quoted(checkout):
    output = refused(checkout, b"name: x\ncache: '{config[wandb]}'\nwandb: \"x'; touch pwned; echo '\"\n")
    assert "cache: expected a line without braces" in output


def test_a_checkout_whose_path_snakemake_would_format_is_refused(tmp_path):
    output = refused(Checkout(tmp_path / "{config[wandb]}"), b"name: x\n")
    assert "expected a line without braces" in output


@pytest.mark.slow
def test_values_reach_jobs_as_they_are_written(checkout):
    change = {
        **NOTHING,
        "name": "quoted",
        "cache": f"cache {HARM}",
        "wandb": f"'; touch pwned; echo '{HARM}",
        "peers_python": f"python {HARM}",
        "methods": {"theirs": {"peer": "saelens", "activation": "topk", "k": 6}},
    }
    run = "results/quoted/runs/lrb/theirs/best/none/seed0/metrics.json"
    done = checkout.snakemake(run, change=change, check=False)
    assert f"no interpreter {change['peers_python']}, so theirs cannot train; run make peers" in done.stdout
    (log,) = checkout.path.glob("logs/quoted/train_peer/*.log")
    assert f"{change['peers_python']}: command not found" in log.read_text()
    assert (checkout.path / "results/quoted/activations/lrb/seed0/train.h5").exists()
    assert not list(checkout.path.glob("**/pwned"))


def test_paths_of_sources_are_one_word_each(checkout):
    stem = f"mine {HARM}"
    sources = {
        "language": {
            "mine": {"model": f"{stem}.gguf", "text": f"{stem}.txt"},
            "wheeled": {"model": f"wheel:a==1#b/{stem}.gguf", "text": f"wheel:c==1#d/{stem}.json"},
        },
        "clip": {
            "photos": {
                "images": stem,
                "test_images": f"{stem}/test",
                "model": f"{stem}.json",
                "pretrained": f"{stem}.safetensors",
            }
        },
    }
    for suffix in ("gguf", "txt", "json"):
        (checkout.path / f"{stem}.{suffix}").write_text("{}")
    change = {**NOTHING, "name": "quoted", "cache": f"cache {HARM}", "sources": sources}
    stores = [f"results/quoted/activations/{source}/test.h5" for source in ("mine", "wheeled", "photos")]
    plan = checkout.plan(*stores, "-p", change=change)
    assert plan.rules() == {"language_model", "activations", "fetch", "clip_activations"}
    # each command's words as split by the shell, one of which is the path
    check = 'for word in "$@"; do printf "%s\\n" "$word"; done'
    words = set()
    for line in plan.text.splitlines():
        command = line.removeprefix("Shell command: ")
        if "$SCRIPTS" in command:
            arguments = command.partition(".py ")[2].rpartition(" > ")[0]
            done = subprocess.run(
                ["bash", "-c", f"show() {{ {check}; }}; show {arguments}"],
                cwd=checkout.path,
                capture_output=True,
                text=True,
                check=True,
            )
            words |= set(done.stdout.splitlines())
    paths = {stem, f"{stem}/test", f"{stem}.gguf", f"{stem}.txt", f"{stem}.json", f"{stem}.safetensors"}
    assert paths | {f"wheel:a==1#b/{stem}.gguf", f"wheel:c==1#d/{stem}.json"} <= words
    assert not list(checkout.path.glob("**/pwned"))


@pytest.mark.parametrize(("page", "trainings"), [("README.md", 15), ("docs/tutorials/new-method.md", 21)])
def test_a_configuration_with_its_own_array_trains_on_this_source_alone(checkout, page, trainings):
    """Laid over the default, the pages' configurations would plan 366 jobs, none of which touches it."""
    text = (REPOSITORY / page).read_text()
    assert f" {trainings} " in text
    examples = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (mine,) = [text for text in examples if "file:" in text]
    (checkout.path / "config/layer5.yaml").write_text(mine)
    for method in re.findall(r"```python\n(# my_method.py\n.*?)```", text, flags=re.DOTALL):
        (checkout.path / "config/my_method.py").write_text(method)
    np.save(checkout.path / "layer5.npy", np.ones((1000, 3), dtype=np.float32))
    np.save(checkout.path / "labels.npy", np.arange(1000) % 2)
    plan = checkout.plan(base="layer5")
    assert len(plan.of("train")) == trainings
    assert all(wildcards.startswith("source=layer5,") for rule in ("train", "evaluate") for wildcards in plan.of(rule))
    stages = {"given_activations", "class_means", "anchors", "train", "evaluate"}
    assert plan.rules() == stages | {"make_own_layer5", "make_figure6", "report"}
