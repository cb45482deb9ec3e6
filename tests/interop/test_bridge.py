"""sdl.extract reads from a TransformerBridge of TransformerLens 4 what forward hooks and the bridge's cache contain."""

import json
import subprocess

import numpy as np
import pytest

import sdlcore as sdl
from tests.conftest import REPOSITORY
from tests.extraction.tiny_llama import documents, save_tiny_llama
from tests.interop.test_peers import ENVIRONMENTS

PYTHON = ENVIRONMENTS / "transformer_lens/bin/python"


@pytest.mark.interop
@pytest.mark.skipif(not PYTHON.exists(), reason=f"{PYTHON} is missing: make interop-test sets it up")
def test_rows_of_a_bridge_equal_those_of_hooks_and_of_its_cache(tmp_path):
    save_tiny_llama(tmp_path / "lm")
    (tmp_path / "texts.json").write_text(json.dumps(documents(40)))
    command = [str(PYTHON), str(REPOSITORY / "tests/interop/bridge.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env={"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = dict(np.load(tmp_path / "expected.npz"))
    last, own_hook = expected.pop("last"), expected.pop("own hook")
    for place, x in expected.items():
        with sdl.ActivationStore(tmp_path / f"stores/{place}.h5") as store:
            np.testing.assert_array_equal(store.read("input"), x, err_msg=place)
    np.testing.assert_array_equal(expected["blocks.1"], own_hook)
    with sdl.ActivationStore(tmp_path / "last.h5") as store:
        # documents are padded to batches, so sums have another order
        np.testing.assert_allclose(store.read("input"), last, rtol=1e-4, atol=1e-4)
