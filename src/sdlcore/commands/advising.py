"""Advice on methods, and judgements of dictionaries."""

from pathlib import Path

import numpy as np

from sdlcore.advice import suggest as suggest_method
from sdlcore.commands.arguments import InputPath
from sdlcore.judging import judge as judge_dictionary
from sdlcore.judging import judged_bench as draw_judged_bench
from sdlcore.storage.paths import user_path


def suggest(
    x: InputPath,
    out: Path,
    minutes: float = 10,
    l0: tuple[int, ...] = (32,),
    n_q: int | None = None,
    opens_in: str | None = None,
    steps: int = 2000,
    batch_size: int = 1024,
    seed: int = 0,
    tokens: float | None = None,
) -> None:
    """Train short pilots on activations, and print which method and settings to use.

    The same command continues after an interruption.

    Args:
        x: activations: a store (.h5) or an .npy file
        out: folder for the pilots, the picture advice.png and the method as advice.yaml
        minutes: time for all pilots
        l0: number of active latents of a sample, or several; methods are chosen at the first
        n_q: number of latents; eight times the dimensions, if left out
        opens_in: leave out methods that this library cannot open, such as saelens
        steps: steps of the longest pilots
        batch_size: samples of a step
        seed: added to the seeds of the pilots
        tokens: also print time, memory and disk of a training on so many samples
    """
    advice = suggest_method(
        x, minutes, l0, n_q=n_q, opens_in=opens_in, steps=steps, batch_size=batch_size, seed=seed, out=out
    )
    print(advice)
    if tokens is not None:
        cost = advice.cost(tokens)
        print(", ".join(f"{value:.3g} {name.replace('_', ' ')}" for name, value in cost.items()))
    folder = user_path(out, "out")
    (folder / "advice.yaml").write_text(advice.yaml, encoding="utf-8")
    figure = advice.plot().get_figure(root=True)
    if figure is not None:
        figure.savefig(folder / "advice.png", bbox_inches="tight")


def judge(dictionary: InputPath, bench: str = "synthsaebench", seed: int = 0) -> None:
    """Score a dictionary on a bench with known features, beside baselines and kept results of other trainers.

    Args:
        dictionary: a run's folder, a .safetensors file, or a folder of SAELens, dictionary_learning or sparsify
        bench: lrb or synthsaebench
        seed: that of the bench whose samples the dictionary was trained on (judged-bench)
    """
    print(judge_dictionary(dictionary, bench, seed))


def judged_bench(out: Path, bench: str = "synthsaebench", seed: int = 0) -> None:
    """Write the training samples of a bench that judge scores on, for any trainer.

    Args:
        out: .npy file to write
        bench: lrb or synthsaebench
        seed: of features and samples; kept results use 0 to 4
    """
    world = draw_judged_bench(bench, seed)
    path = user_path(out, "out")
    if path.suffix != ".npy":
        raise ValueError(f"{path}: expected a name that ends with .npy")
    np.save(path, world.sample())
    print(f"{world}: {path}")
