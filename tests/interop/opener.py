"""Run by the interpreter that has a library: open exports by the library's own loader, and let it compute.

    python tests/interop/opener.py LIBRARY FOLDER...

Each folder holds ``samples.pt`` and the export in ``exported``. The script writes ``computed.pt`` there, latents and
outputs of the samples, and the dictionary in ``saved``, as the library itself saves it. It fills an empty folder: a
subfolder with these files for each of the library's own architectures, with random weights and the library's defaults.
It prints the library's version. It knows nothing of sdlcore, except that SAELens opens some exports by sdlcore.saelens.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DISTRIBUTIONS = {
    "saelens": "sae-lens",
    "dictionary_learning": "dictionary-learning",
    "sparsify": "eai-sparsify",
    "circuit_tracer": "circuit-tracer",
}


N, N_Q, K = 24, 96, 6


class SAELens:
    natives = (
        ("standard", {}),
        ("topk", {"k": K}),
        ("topk", {"k": K, "rescale_acts_by_decoder_norm": True}),
        ("jumprelu", {}),
        ("gated", {}),
        ("abstopk", {"k": K}),
        ("matching_pursuit", {"max_iterations": K, "residual_threshold": 0.0, "stop_on_duplicate_support": False}),
        ("transcoder", {"d_out": 32, "apply_b_dec_to_input": False}),
        ("skip_transcoder", {"d_out": 32, "apply_b_dec_to_input": False}),
        ("jumprelu_transcoder", {"d_out": 32, "apply_b_dec_to_input": False}),
        ("jumprelu_skip_transcoder", {"d_out": 32, "apply_b_dec_to_input": False}),
    )

    def load(self, folder: Path) -> Any:
        from sae_lens import SAE

        import sdlcore.saelens  # noqa: F401

        return SAE.load_from_disk(folder)

    def compute(self, sae: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        return sae.encode(x), sae(x)

    def save(self, sae: Any, folder: Path) -> None:
        sae.save_model(folder)

    def native(self, architecture: str, options: dict[str, Any]) -> Any:
        from sae_lens import SAE

        cfg = {"architecture": architecture, "d_in": N, "d_sae": N_Q, "dtype": "float32", "device": "cpu", **options}
        return SAE.from_dict(cfg | {"metadata": {"sae_lens_version": version("sae-lens")}})


class DictionaryLearning:
    natives = (
        ("AutoEncoder", {}),
        ("AutoEncoderNew", {}),
        ("JumpReluAutoEncoder", {}),
        ("GatedAutoEncoder", {}),
        ("AutoEncoderTopK", {"k": K}),
        ("BatchTopKSAE", {"k": K}),
        ("MatryoshkaBatchTopKSAE", {"k": K, "group_sizes": [16, 32, 48]}),
    )

    def load(self, folder: Path) -> Any:
        from dictionary_learning.utils import load_dictionary

        return load_dictionary(str(folder), "cpu")[0]

    def compute(self, dictionary: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        return dictionary.encode(x), dictionary(x)

    def save(self, dictionary: Any, folder: Path) -> None:
        folder.mkdir()
        torch.save(dictionary.state_dict(), folder / "ae.pt")
        sizes = {name: getattr(dictionary, name) for name in ("activation_dim", "dict_size")}
        trainer = {"dict_class": type(dictionary).__name__, **sizes}
        if hasattr(dictionary, "k"):
            trainer["k"] = int(dictionary.k)
        (folder / "config.json").write_text(json.dumps({"trainer": trainer}))

    def native(self, architecture: str, options: dict[str, Any]) -> Any:
        from dictionary_learning import utils

        return getattr(utils, architecture)(N, N_Q, **options)


class Sparsify:
    natives = (
        ("autoencoder", {}),
        ("transcoder", {"transcode": True}),
        ("skip transcoder", {"transcode": True, "skip_connection": True}),
    )

    def load(self, folder: Path) -> Any:
        from sparsify import SparseCoder

        return SparseCoder.load_from_disk(folder)

    def compute(self, coder: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        top, columns, _ = coder.encode(x)
        return torch.zeros(len(x), coder.num_latents).scatter(1, columns, top), coder(x).sae_out

    def save(self, coder: Any, folder: Path) -> None:
        coder.save_to_disk(folder)

    def native(self, architecture: str, options: dict[str, Any]) -> Any:
        from sparsify import SparseCoder, SparseCoderConfig

        return SparseCoder(N, SparseCoderConfig(num_latents=N_Q, k=K, **options))


class CircuitTracer:
    natives = ()

    def load(self, folder: Path) -> Any:
        """Open a set from its cache, as for sets that are on no hub; a TopK by the function that reads its k."""
        import yaml
        from circuit_tracer.utils.hf_utils import load_transcoder_from_hub, load_transcoders

        config = yaml.safe_load((folder / "config.yaml").read_text())
        if "activation" in config:
            paths = [str(folder / f"layer_{layer}.safetensors") for layer in range(len(list(folder.glob("layer_*"))))]
            return load_transcoders({**config, "transcoders": paths}, device=torch.device("cpu"))
        return load_transcoder_from_hub(folder.name, cache_dir=str(folder.parent), device=torch.device("cpu"))[0]

    def compute(self, transcoders: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute all layers, and return the last one's output."""
        inputs = x.expand(len(transcoders), -1, -1)
        latents = transcoders.encode(inputs)
        return latents[-1], transcoders.decode(latents, inputs)[-1]

    def save(self, transcoders: Any, folder: Path) -> None:
        pass


LIBRARIES = {
    "saelens": SAELens,
    "dictionary_learning": DictionaryLearning,
    "sparsify": Sparsify,
    "circuit_tracer": CircuitTracer,
}


def fill(library: Any, folder: Path) -> None:
    """Write a dictionary of each of a library's own architectures, with weights that all affect the output."""
    torch.manual_seed(0)
    for number, (architecture, options) in enumerate(library.natives):
        sae = library.native(architecture, options)
        for name, value in sae.state_dict().items():
            if name == "threshold":
                value.copy_(torch.rand(value.shape))
            elif value.ndim and value.is_floating_point():  # biases, and decoder rows with norms other than one
                value.add_(0.3 * torch.randn(value.shape))
        into = folder / f"{number} {architecture}"
        into.mkdir()
        library.save(sae, into / "saved")
        torch.save(0.5 + torch.randn(1000, N), into / "samples.pt")
        # load with its own loader, which may convert it
        compute(library, into / "saved", into)


def compute(library: Any, folder: Path, into: Path) -> Any:
    opened = library.load(folder)
    latents, outputs = library.compute(opened, torch.load(into / "samples.pt"))
    torch.save({"latents": latents, "outputs": outputs}, into / "computed.pt")
    return opened


@torch.no_grad()
def main(name: str, folders: list[str]) -> None:
    library = LIBRARIES[name]()
    for folder in map(Path, folders):
        if any(folder.iterdir()):
            library.save(compute(library, folder / "exported", folder), folder / "saved")
        else:
            fill(library, folder)
    print(version(DISTRIBUTIONS[name]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], sys.argv[2:])
