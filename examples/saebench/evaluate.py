"""Evaluate exported dictionaries with SAEBench, in an environment that has sae-bench and needs no sdlcore.

    python evaluate.py exported/saelens --evals core sparse_probing

Each folder is an export for SAELens, made with ``model_name`` and ``hook_name``. Results go to ``eval_results``.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import torch
from sae_bench.custom_saes import run_all_evals_custom_saes as runner
from sae_bench.custom_saes.base_sae import BaseSAE
from sae_bench.evals.core.main import multiple_evals
from sae_bench.sae_bench_utils.general_utils import str_to_dtype
from sae_lens import SAE
from torch import Tensor


class ExportedSAE(BaseSAE):
    """A dictionary as SAEBench takes it: decoder rows of norm one, and latents that are larger by the old norms.

    The dictionary itself chooses the active latents, so reconstructions stay the same for every activation.
    """

    def __init__(self, folder: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        known = json.loads((Path(folder) / "cfg.json").read_text())
        where = known.get("metadata", {})
        if not where.get("model_name") or not where.get("hook_name"):
            raise ValueError(f"{folder}: does not say its model and hook; export it with model_name and hook_name")
        layer = re.match(r"blocks\.(\d+)\.", where["hook_name"])
        if layer is None or known["architecture"] not in ("standard", "topk", "abstopk", "jumprelu", "gated"):
            raise ValueError(
                f"{folder}: SAEBench takes autoencoders of a block's activations, found the kind "
                f"{known['architecture']} at {where['hook_name']}"
            )
        sae = SAE.load_from_disk(folder, device=device)
        n_p, n_q = sae.W_enc.shape
        super().__init__(
            n_p,
            n_q,
            where["model_name"],
            int(layer.group(1)),
            torch.device(device),
            dtype,
            hook_name=where["hook_name"],
        )
        self.sae = sae
        self.cfg.architecture = f"sdlcore {known['architecture']}"
        norms = sae.W_dec.detach().norm(dim=1)
        self.register_buffer("norms", norms)
        biases = sae.b_mag if known["architecture"] == "gated" else sae.b_enc
        with torch.no_grad():
            # a row of zeros stays a row of zeros
            self.W_dec.copy_(sae.W_dec / norms.clamp(min=torch.finfo(norms.dtype).tiny)[:, None])
            self.W_enc.copy_(sae.W_enc * norms)
            self.b_enc.copy_(biases * norms)
            self.b_dec.copy_(sae.b_dec)
        self.to(device=torch.device(device), dtype=dtype)

    def encode(self, x: Tensor) -> Tensor:
        """Return the latents (... x n_q) of activations (... x n_p)."""
        return self.sae.encode(x.to(self.dtype)) * self.norms

    def decode(self, feature_acts: Tensor) -> Tensor:
        """Return the reconstruction of latents."""
        return feature_acts @ self.W_dec + self.b_dec

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction of activations."""
        return self.decode(self.encode(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="exports for SAELens, all of one language model")
    parser.add_argument("--evals", nargs="+", default=["core"], choices=sorted(runner.output_folders))
    parser.add_argument(
        "--dataset", default="Skylion007/openwebtext", help="text of core: a name at the hub, or a folder"
    )
    parser.add_argument(
        "--batches", type=int, default=200, help="batches of core's losses; ten times as many elsewhere"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="contexts that the model reads at once")
    parser.add_argument("--context-size", type=int, default=128, help="tokens of a context of core")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked = parser.parse_args()
    saes: list[tuple[str, Any]] = []
    for folder in asked.folders:
        sae = ExportedSAE(folder, asked.device, str_to_dtype(asked.dtype))
        saes.append(("_".join(Path(folder).parts[-2:]), sae))
    models = {sae.cfg.model_name for _, sae in saes}
    if len(models) > 1:
        raise SystemExit(f"evaluate dictionaries of one language model at a time, found {', '.join(sorted(models))}")
    if "core" in asked.evals:
        found = multiple_evals(
            selected_saes=saes,
            n_eval_reconstruction_batches=asked.batches,
            n_eval_sparsity_variance_batches=10 * asked.batches,
            eval_batch_size_prompts=asked.batch_size,
            compute_featurewise_density_statistics=True,
            compute_featurewise_weight_based_metrics=True,
            exclude_special_tokens_from_reconstruction=True,
            dataset=asked.dataset,
            context_size=asked.context_size,
            output_folder=runner.output_folders["core"],
            verbose=True,
            dtype=asked.dtype,
            device=asked.device,
            force_rerun=True,
        )
        if len(found) < len(saes):  # SAEBench logs an error and goes on
            raise SystemExit(f"SAEBench evaluated {len(found)} of {len(saes)} dictionaries; it says above why")
    others = [name for name in asked.evals if name != "core"]
    (model,) = models
    runner.MODEL_CONFIGS.setdefault(model, {})  # it refuses models that it does not list
    key = Path("openai_api_key.txt")  # for autointerp
    runner.run_evals(
        model,
        saes,
        asked.batch_size,
        asked.dtype,
        asked.device,
        others,
        key.read_text().strip() if key.exists() else None,
    )


if __name__ == "__main__":
    main()
