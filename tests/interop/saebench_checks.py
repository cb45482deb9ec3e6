"""Run by the interpreter with SAEBench: its own checks of exported dictionaries, and their latents and outputs.

    python tests/interop/saebench_checks.py FOLDER...

Each folder holds ``samples.pt`` and the export in ``exported``. The script writes ``computed.pt`` there, with 100
samples as a batch of contexts. It knows nothing of sdlcore but its example.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "examples/saebench"))

from evaluate import ExportedSAE  # type: ignore[import-not-found]


@torch.no_grad()
def main(folders: list[Path]) -> None:
    for folder in folders:
        sae = ExportedSAE(folder / "exported")
        assert sae.check_decoder_norms(), folder
        sae.test_sae(sae.cfg.model_name)
        x = torch.load(folder / "samples.pt").unflatten(0, (4, -1))
        latents = sae.encode(x)
        computed = {"latents": latents, "outputs": sae(x), "decoded": sae.decode(latents), "norms": sae.norms}
        torch.save(
            {name: value.flatten(0, 1) if value.ndim == 3 else value for name, value in computed.items()},
            folder / "computed.pt",
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main([Path(name) for name in sys.argv[1:]])
