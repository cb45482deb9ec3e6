"""CLIPs by their names on the hub, fetched from a local hub by open_clip's own code."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extraction.conftest import ARCHITECTURE, ClipFiles
from tests.extraction.fake_hub import fake_hub

LOADING = """
import sys
from sdlcore.extraction.models import load_clip, model_facts
from sdlcore.errors import SourceError
for model, pretrained in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        clip = load_clip(model, pretrained)
        print(model_facts(clip.visual)["sha256"], clip.visual.preprocess_cfg["mean"])
    except SourceError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, clip_files: ClipFiles) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("hub")
    for name, change in (("tiny", {}), ("tiny-quickgelu", {"quick_gelu": True})):
        repository = folder / "models/someone" / name
        repository.mkdir(parents=True)
        shutil.copy(clip_files.weights, repository / "open_clip_model.safetensors")
        description = {"model_cfg": ARCHITECTURE | change, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}
        (repository / "open_clip_config.json").write_text(json.dumps(description))
    with fake_hub(folder) as address:
        yield address


def load(address: str, home: Path, *models: str) -> list[str]:
    """Load in a new process, because the hub's client reads its address when it is imported."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(home)}
    command = [sys.executable, "-c", LOADING, *models]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_repository_brings_weights_and_preprocessing_and_must_go_with_the_model(hub, clip_files, tmp_path):
    model = clip_files.architecture
    requests = [model, "hf-hub:someone/tiny", model, clip_files.weights, model, "hf-hub:someone/tiny-quickgelu"]
    requests += ["ViT-B-32", "hf-hub:someone/tiny", model, "hf-hub:someone/nothing", "ViT-B-32-quickgelu", "openai"]
    fetched, local, quickgelu, other, missing, tag = load(hub, tmp_path, *requests)
    assert fetched.split()[0] == local.split()[0]
    assert fetched.endswith("[0.5, 0.5, 0.5]")
    assert "hf-hub:someone/tiny-quickgelu was trained with quick_gelu True, but model" in quickgelu
    assert "hf-hub:someone/tiny was trained with embed_dim 8, but model ViT-B-32 has 512" in other
    assert "hf-hub:someone/nothing: not readable as weights of a-clip-for-tests (" in missing
    assert tag.startswith("openai: not readable as weights of ViT-B-32-quickgelu (RuntimeError")
    assert "give the path of a file" in tag
