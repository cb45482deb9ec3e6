"""Train a transcoder for each layer of SmolLM2-135M, and export the set for circuit-tracer.

    python -m examples.circuits.fit results/circuits

The folder gets stores of activations, a run for each layer, and the set in ``transcoders``. The same call resumes an
interrupted one. ``fvu.csv`` has the scores on held-out articles.
"""

import argparse
from pathlib import Path
from typing import Any

import sdlcore as sdl
from examples.rows_and_codes.real import MODEL, articles
from sdlcore.storage.files import write_rows

LAYERS = range(1, 31)
TOKENS = {"train": 31_000, "test": 2_048}
SETTINGS: dict[str, Any] = {
    "activation": "batchtopk",
    "k": 16,
    "n_q": 1024,
    "steps": 250,
    "batch_size": 512,
    "lr": 3e-3,
    "normalise": True,
    "bias": True,
}
"""circuit-tracer opens BatchTopK as JumpReLU, with the threshold that training measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    train, test = (
        sdl.extract_layers(MODEL, articles(part), layers=LAYERS, place="mlp", out=folder / part, tokens=n)
        for part, n in TOKENS.items()
    )
    transcoders = sdl.fit_layers(train, pair="transcoder", out=folder / "runs", **SETTINGS)
    sdl.export_set(transcoders, "circuit_tracer", folder / "transcoders", model_name="SmolLM2-135M-Instruct")
    rows = [["layer", "l0", "fvu"]]
    for layer, transcoder, store in zip(LAYERS, transcoders, test, strict=True):
        scores = sdl.evaluate(transcoder, x=store, nulls=False)
        rows.append([str(layer), f"{scores['l0']:.3g}", f"{scores['fvu']:.3g}"])
    write_rows(folder / "fvu.csv", rows)


if __name__ == "__main__":
    main()
