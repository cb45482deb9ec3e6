"""Better codes, rows and encoders for dictionaries that exist."""

from pathlib import Path

from sdlcore.api.run_folder import new_run_folder
from sdlcore.codes.opening import N_SAMPLES
from sdlcore.codes.reencode import Encoder
from sdlcore.codes.reencode import reencode as reencode_dictionary
from sdlcore.codes.refine import refine as refine_rows
from sdlcore.codes.search import Method
from sdlcore.codes.search import search as search_codes
from sdlcore.commands.arguments import InputPath, opened
from sdlcore.device import Device


def search(
    dictionary: InputPath,
    out: Path,
    x: Path | None = None,
    method: Method = "posterior",
    k: int | None = None,
    l0: float | None = None,
    n_samples: int | None = None,
) -> None:
    """Replace the encoder of an autoencoder by a search for the codes of each sample; decoder rows stay.

    Args:
        dictionary: a run's folder, a .safetensors file, or a folder of SAELens, dictionary_learning or sparsify
        out: folder to write, without another run
        x: samples for the statistics of posterior codes, or for l0: an .npy file, or a store (.h5)
        method: posterior codes, orthogonal matching pursuit, gradient pursuit, or non-negative least squares on the
            latents that the encoder activates
        k: largest number of active latents of a sample (omp, gradient_pursuit); the dictionary's, if left out
        l0: mean number of active latents of a sample (omp, gradient_pursuit), instead of k latents in every sample
        n_samples: number of samples of x to use; 65,536, if left out
    """
    folder = new_run_folder(out)
    new_dictionary = search_codes(opened(dictionary), x, method, k=k, l0=l0, n_samples=n_samples)
    new_dictionary.save(folder)
    print(f"{new_dictionary}: {out}")


def refine(
    dictionary: InputPath, x: Path, out: Path, rounds: int = 10, n_samples: int = N_SAMPLES, seed: int = 0
) -> None:
    """Improve the decoder rows of an autoencoder by mean shift and a refit, and give it posterior codes.

    The same command resumes an interrupted refinement, and opens a finished one.

    Args:
        dictionary: a run's folder, a .safetensors file, or a folder of SAELens, dictionary_learning or sparsify
        x: samples: an .npy file, or a store (.h5)
        out: folder to write
        rounds: rounds of mean shift, at least 4
        n_samples: number of samples of a round
        seed: of the order of samples, and of the starts of mean shift
    """
    new_dictionary = refine_rows(opened(dictionary), x, rounds, n_samples=n_samples, seed=seed, out=out)
    print(f"{new_dictionary}: {out}")


def reencode(
    dictionary: InputPath,
    x: Path,
    out: Path,
    activation: Encoder = "jumprelu",
    l0: float | None = None,
    steps: int = 1000,
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Fit an ordinary encoder, which other libraries load, to the decoder rows of an autoencoder.

    The same command resumes an interrupted fit, and opens a finished one.

    Args:
        dictionary: a run's folder, a .safetensors file, or a folder of SAELens, dictionary_learning or sparsify
        x: samples: an .npy file, or a store (.h5)
        out: folder to write
        activation: jumprelu imitates codes by search, of the dictionary or posterior ones; topk and batchtopk are
            trained with a frozen decoder
        l0: mean number of active latents of a sample; if left out, the L0 of the codes, or the dictionary's k
        steps: steps of 1,024 samples
        seed: of the order of samples
        device: where the encoder is fitted
    """
    new_dictionary = reencode_dictionary(
        opened(dictionary), x, activation, l0, steps=steps, seed=seed, device=device, out=out
    )
    print(f"{new_dictionary}: {out}")
