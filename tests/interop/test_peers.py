"""Each library's own loader opens every export and computes the same; dictionaries saved by libraries open here.

`make interop-test` runs this, each library in an environment of its own, and writes the kept table of all pairs.
"""

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from sdlcore.extraction.models import load_tokenizer
from sdlcore.interop.export import FORMATS, export, refusal
from sdlcore.interop.load import load
from sdlcore.storage.files import write_rows
from tests.conftest import REPOSITORY
from tests.extraction.tiny_llama import documents, save_tiny_llama
from tests.interop.crosscoder_fork import computed
from tests.interop.models import KINDS, agreement, model_of, samples

ENVIRONMENTS = REPOSITORY / "cache/environments"
TABLE = REPOSITORY / "resources/kept/interop_pairs.csv"
SOURCE = "CIRCUIT_TRACER_SOURCE"
"""Environment variable: a checkout of circuit-tracer's repository, v0.5.0 or later. The release on PyPI opens no TopK;
without a checkout, the kept numbers of its TopK transcoders stay."""
SAMPLES, LATENTS = 1000, 1024
LIMIT = 1e-5


class Pair(NamedTuple):
    """A kind of dictionary and a library."""

    kind: str
    library: str
    refused: str
    """Reason and advice; empty if the library can express the kind."""
    same: int = 0
    """Number of samples with equal active sets."""
    error: float = 0.0
    """Largest relative error of an output."""


FOUND: dict[str, list[Pair]] = {}
"""Results by library, collected by the tests."""
VERSIONS: dict[str, str] = {}


def run(library: str, folders: list[Path]) -> str:
    """Make a library open and compute a dictionary; return the library's version."""
    python = ENVIRONMENTS / library / "bin/python"
    assert python.exists(), f"{python} is missing: make interop-test sets it up"
    command = [str(python), str(REPOSITORY / "tests/interop/opener.py"), library, *map(str, folders)]
    env = {"HF_HUB_OFFLINE": "1"}
    if library == "circuit_tracer" and SOURCE in os.environ:
        env["PYTHONPATH"] = os.environ[SOURCE]
    done = subprocess.run(command, cwd=folders[0], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


def is_unreleased(kind: str, library: str) -> bool:
    """Return whether only a checkout of the library's repository opens a kind, and there is none."""
    return library == "circuit_tracer" and kind.startswith("topk") and SOURCE not in os.environ


def stored_rows() -> list[dict[str, str]]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stored_pair(kind: str, library: str) -> Pair:
    """Return the kept numbers of a pair."""
    (row,) = (row for row in stored_rows() if (row["dictionary"], row["library"]) == (kind, library))
    return Pair(kind, library, "", int(row["samples_equal"]), float(row["relative_error"]))


@torch.no_grad()
def compared(model, folder: Path) -> tuple[int, float]:
    theirs, x = torch.load(folder / "computed.pt"), torch.load(folder / "samples.pt")
    out = model(x)
    # the comparison was not empty
    assert 1 < float((theirs["latents"] > 0).sum(1).float().mean()) < model.config.n_q
    return agreement((out.latents(), out.x_hat), (theirs["latents"], theirs["outputs"]))


@torch.no_grad()
@pytest.mark.interop
@pytest.mark.parametrize("library", FORMATS)
def test_every_export_computes_the_same_in_the_library_and_comes_back(library, tmp_path):
    pairs, folders = [], {}
    for kind in KINDS:
        model = model_of(kind, n_q=LATENTS)
        if reason := refusal(model, library):
            pairs.append(Pair(kind, library, reason))
            continue
        if is_unreleased(kind, library):
            pairs.append(stored_pair(kind, library))
            continue
        if "crosscoder" in kind:  # a fork opens them, which is on no index
            x, out = samples(kind, SAMPLES), computed(export(model, library, tmp_path / kind), samples(kind, SAMPLES))
            pairs.append(Pair(kind, library, "", *agreement((model.encode(x), model(x).x_hat), out)))
            continue
        folder = folders[kind] = tmp_path / kind
        folder.mkdir()
        torch.save(samples(kind, SAMPLES), folder / "samples.pt")
        if FORMATS[library].is_set:  # the compared layer is the last of two
            export([model_of(kind, 1, LATENTS), model], library, folder / "exported")
        else:
            export(model, library, folder / "exported")
    VERSIONS[library] = run(library, list(folders.values()))
    for kind, folder in folders.items():
        pairs.append(Pair(kind, library, "", *compared(model_of(kind, n_q=LATENTS), folder)))
        if FORMATS[library].read:
            same, error = compared(load(folder / "saved", library), folder)
            assert (same, error < LIMIT) == (SAMPLES, True), f"{kind}, saved there and opened here: {same}, {error}"
    FOUND[library] = sorted(pairs, key=lambda pair: list(KINDS).index(pair.kind))
    off = [pair for pair in pairs if not pair.refused and (pair.same < SAMPLES or pair.error >= LIMIT)]
    assert not off


@pytest.mark.interop
@pytest.mark.parametrize("library", [name for name, file_format in FORMATS.items() if file_format.read])
def test_a_dictionary_saved_by_the_library_computes_the_same_here(library, tmp_path):
    run(library, [tmp_path])
    natives = sorted(tmp_path.iterdir())
    assert len(natives) >= 3
    for folder in natives:
        same, error = compared(load(folder / "saved"), folder)
        assert (same, error < LIMIT) == (SAMPLES, True), f"{folder.name}: {same}, {error}"


@pytest.mark.interop
def test_saelens_runs_encoders_that_it_does_not_have_in_a_language_model(tmp_path):
    kinds = ["topk", "posterior codes", "lista"]
    folders = [tmp_path / kind for kind in kinds]
    for kind, folder in zip(kinds, folders, strict=True):
        export(model_of(kind), "saelens", folder, hook_name="blocks.0.hook_resid_post")
    python, script = ENVIRONMENTS / "saelens/bin/python", REPOSITORY / "tests/interop/hooked.py"
    command = [str(python), str(script), *map(str, folders)]
    done = subprocess.run(command, cwd=tmp_path, env={"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for kind, errors in json.loads(done.stdout.splitlines()[-1]).items():
        assert errors.pop("change") > 0.1, kind  # the dictionary was in the model
        assert max(errors.values()) < LIMIT, kind


@pytest.mark.interop
def test_activations_of_a_hooked_transformer_are_those_of_its_cache(tmp_path):
    load_tokenizer(save_tiny_llama(tmp_path / "tiny")).save_pretrained(tmp_path)
    (tmp_path / "texts.json").write_text(json.dumps(documents(40)))
    command = [str(ENVIRONMENTS / "saelens/bin/python"), str(REPOSITORY / "tests/interop/extractor.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env={"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    errors = json.loads(done.stdout.splitlines()[-1])
    assert len(errors) == 6
    assert max(errors.values()) < 2**-10  # stored in float16


@pytest.mark.interop
def test_the_table_of_all_pairs_is_written():
    if FOUND.keys() != FORMATS.keys():
        pytest.skip("the table needs all libraries")
    pairs = [pair for library in FORMATS for pair in FOUND[library]]
    header = ["dictionary", "library", "samples_equal", "relative_error", "refused"]
    numbers = [["", ""] if pair.refused else [str(pair.same), f"{pair.error:.1e}"] for pair in pairs]
    rows = zip(pairs, numbers, strict=True)
    write_rows(TABLE, [header, *([p.kind, p.library, *cells, p.refused] for p, cells in rows)])
    print(VERSIONS)  # docs/exporting.md names them
    assert len(pairs) == len(KINDS) * len(FORMATS)


def test_the_committed_table_has_every_pair_and_no_other():
    table = {(row["dictionary"], row["library"]): row for row in stored_rows()}
    assert table.keys() == {(kind, library) for kind in KINDS for library in FORMATS}
    for (kind, library), row in table.items():
        assert row["refused"] == (refusal(model_of(kind, n_q=LATENTS), library) or "")
        assert row["refused"] or (row["samples_equal"] == str(SAMPLES) and float(row["relative_error"]) < LIMIT)
