"""SAEBench's own runner evaluates exported dictionaries of a tiny GPT-2, without a hub."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from sdlcore.interop.export import export
from tests.conftest import REPOSITORY
from tests.extraction.tiny_llama import documents, randomise
from tests.interop.models import N_Q, K, N, agreement, model_of, samples

ENVIRONMENT = REPOSITORY / "cache/environments/saebench"
EXAMPLE = REPOSITORY / "examples/saebench/evaluate.py"
KINDS = ("relu", "topk", "batchtopk", "jumprelu", "gated", "abstopk", "topk without biases")
COMMIT = "0" * 40


def run(script: Path, *arguments: object, cwd: Path) -> str:
    """Run a script in SAEBench's environment, where the name gpt2 finds the tiny model in the hub's cache."""
    python = ENVIRONMENT / "bin/python"
    assert python.exists(), f"{python} is missing: make interop-test sets it up"
    here = {"HF_HOME": str(cwd / "hf"), "HF_HUB_OFFLINE": "1", "MPLCONFIGDIR": str(cwd / "mpl"), "OMP_NUM_THREADS": "1"}
    command = [str(python), str(script), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **here}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def save_tiny_gpt2(home: Path) -> None:
    """Save a random GPT-2 and a tokenizer where the hub's cache has the model ``gpt2``."""
    cached = home / "hub/models--gpt2"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs/main").write_text(COMMIT)
    folder = cached / "snapshots" / COMMIT
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[end], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(documents(20), trainer)
    special = {"bos_token": end, "eos_token": end, "unk_token": end}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    # TransformerLens reads n_ctx, which the real model's configuration has
    lm = GPT2LMHeadModel(GPT2Config(vocab_size=len(fast), n_positions=64, n_ctx=64, n_embd=N, n_layer=3, n_head=2))
    randomise(lm)
    lm.save_pretrained(folder)


@pytest.mark.interop
def test_the_official_runner_evaluates_every_kind_of_autoencoder(tmp_path):
    save_tiny_gpt2(tmp_path / "hf")
    (tmp_path / "text").mkdir()
    (tmp_path / "text/texts.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in documents(200)))
    folders = []
    for kind in KINDS:
        folder = tmp_path / kind.replace(" ", "_")
        folder.mkdir()
        torch.save(samples(kind, 100), folder / "samples.pt")
        export(model_of(kind), "saelens", folder / "exported", model_name="gpt2", hook_name="blocks.1.hook_resid_post")
        folders.append(folder)
    run(REPOSITORY / "tests/interop/saebench_checks.py", *folders, cwd=tmp_path)
    for kind, folder in zip(KINDS, folders, strict=True):
        theirs, model = torch.load(folder / "computed.pt"), model_of(kind)
        with torch.no_grad():
            out = model(torch.load(folder / "samples.pt"))
        norms = model.W_dec.detach().norm(dim=1)
        torch.testing.assert_close(theirs["norms"], norms)
        # as for every export: a float32 sum of 24 products in another order, and a rounding for each unit row
        for outputs in ("outputs", "decoded"):
            same, error = agreement((out.latents() * norms, out.x_hat), (theirs["latents"], theirs[outputs]))
            assert same == 100, kind
            assert error < 1e-5, kind
    small = ("--dataset", tmp_path / "text", "--batches", 1, "--batch-size", 2, "--context-size", 16, "--device", "cpu")
    output = run(EXAMPLE, *(folder / "exported" for folder in folders), "--evals", "core", *small, cwd=tmp_path)
    assert output.count("Saved evaluation results to") == len(KINDS)
    for kind, folder in zip(KINDS, folders, strict=True):
        name = f"{folder.name}_exported_custom_sae_eval_results.json"
        result = json.loads((tmp_path / "eval_results/core" / name).read_text())
        metrics = result["eval_result_metrics"]
        assert result["eval_config"]["model_name"] == "gpt2"
        assert len(result["eval_result_details"]) == N_Q
        assert metrics["model_behavior_preservation"]["kl_div_with_sae"] > 0
        assert 0 < metrics["sparsity"]["l0"] <= (K if "topk" in kind and kind != "batchtopk" else N_Q), kind


@pytest.mark.interop
def test_an_export_that_does_not_say_its_model_is_refused(tmp_path):
    export(model_of("topk"), "saelens", tmp_path / "exported")
    with pytest.raises(
        AssertionError, match="does not say its model and hook; export it with model_name and hook_name"
    ):
        run(EXAMPLE, tmp_path / "exported", cwd=tmp_path)
