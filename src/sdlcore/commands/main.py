"""The command line, ``sdlcore COMMAND``: what notebooks do, on files. Most commands are functions of Python."""

import inspect
import logging
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import sdlcore as sdl
from sdlcore.command_line import reported
from sdlcore.commands import custom
from sdlcore.commands.signatures import CSV, TEXT, DictionaryPaths, InputPath, arg, collector, command
from sdlcore.extraction.config import TokensOf
from sdlcore.interop.tensors import Orientation
from sdlcore.plugins.importing import load_for_jobs
from sdlcore.settings import Precision
from sdlcore.suggestions import did_you_mean
from sdlcore.text import printable_lines
from sdlcore.user_warnings import is_first_process

PROGRAM = "sdlcore"
PLACES = "dictionary lm texts out latents layer place tokens number contexts_per_batch text_options"
EXPORT = "dictionary to folder model_name hook_name hook_name_out lm_name layer submodule_name"
IMPORT = "path out format subfolder revision activation k threshold pair layout apply_b_dec_to_input"
EXTRACT = (
    "model inputs at out tokens max_tokens batch_size context_length text_options roles max_unreadable workers dtype "
    "store_dtype"
)
MODEL = (
    "a folder with a model of transformers, its name at the hub, a .gguf file, open_clip:ARCHITECTURE:PRETRAINED (its "
    "image tower), or timm:MODEL"
)
COMMANDS: dict[str, Callable[[], Callable[..., None]]] = {
    "extract": lambda: command(
        sdl.extract,
        EXTRACT,
        model=Annotated[str, tyro.conf.Positional, arg(help=MODEL)],
        inputs=Annotated[str, tyro.conf.Positional, arg(help=f"{TEXT}; or a folder of images")],
        at=tuple[str, ...],
        out=Annotated[Path, arg(help="file (.h5), whose sites are the places; or a folder for a store of each place")],
        tokens=TokensOf,
        roles=tuple[str, ...] | None,
        dtype=Precision | None,
    ),
    "suggest": lambda: command(
        sdl.suggest,
        "x out minutes l0 n_q steps batch_size seed",
        x=InputPath,
        l0=tuple[int, ...] | int,
        n_q=tuple[int, ...] | None,
    ),
    "fit": lambda: custom.fit,
    "solve": lambda: custom.solve,
    "search": lambda: command(sdl.search, "dictionary out x method k l0 n_samples", x=Path | None),
    "refine": lambda: command(sdl.refine, "dictionary x out rounds n_samples seed"),
    "reencode": lambda: command(sdl.reencode, "dictionary x out activation l0 steps seed device"),
    "evaluate": lambda: custom.evaluate,
    "judge": lambda: command(sdl.judge, "dictionary bench seed"),
    "bench": lambda: custom.bench,
    "language-scores": lambda: command(
        sdl.language_scores,
        "dictionary lm texts layer place contexts context_length contexts_per_batch text_options out",
        dictionary=DictionaryPaths,
        out=CSV,
    ),
    "probe": lambda: command(
        sdl.probe,
        "dictionaries x labels k held_out nulls seed out",
        x=Annotated[Path, arg(help="a language model's store (.h5), or an .npy file with a row for each document")],
        labels=Annotated[Path, arg(help="class of each document of the text, as an .npy file")],
        k=Annotated[tuple[int | None, ...], arg(help="how many features a probe reads; None for all")],
        out=CSV,
    ),
    "stability": lambda: command(sdl.stability, "dictionaries out", out=CSV),
    "compare": lambda: command(sdl.compare, "before after x beside out", out=CSV),
    "export": lambda: command(
        sdl.export,
        EXPORT,
        to=Literal["saelens", "dictionary_learning", "sparsify", "circuit_tracer"],
        folder=Annotated[Path, arg(name="out", help="folder to write")],
        model_name=Annotated[str | None, arg(help="language model of the activations (saelens, circuit_tracer)")],
        hook_name=Annotated[str | None, arg(help="where they come from, by TransformerLens' name (saelens)")],
        hook_name_out=Annotated[str | None, arg(help="where a transcoder writes (saelens)")],
        lm_name=Annotated[str | None, arg(help="language model of the activations (dictionary_learning)")],
        layer=Annotated[int | None, arg(help="its layer, counted from 0 as that library counts (dictionary_learning)")],
        submodule_name=Annotated[str | None, arg(help="where in the layer (dictionary_learning)")],
    ),
    "import": lambda: command(
        sdl.load,
        IMPORT,
        path=Annotated[str, tyro.conf.Positional],
        format=Literal["sdlcore", "saelens", "dictionary_learning", "sparsify", "tensors"] | None,
        activation=Annotated[str | None, arg(help="of plain tensors: relu, jumprelu, topk, batchtopk or abstopk")],
        k=Annotated[int | None, arg(help="of plain tensors: active latents of a sample")],
        threshold=Annotated[float | None, arg(help="of plain tensors: one for all latents, if the file has none")],
        pair=Annotated[
            Literal["sae", "transcoder"] | None,
            arg(help="of plain tensors; sae if left out and inputs and targets have one width and no W_skip"),
        ],
        layout=Annotated[
            Orientation | None,
            arg(help="of plain tensors: whether rows or columns are latents, if shapes do not tell"),
        ],
        apply_b_dec_to_input=Annotated[bool | None, arg(help="of plain tensors: b_dec is subtracted from inputs")],
    ),
    "top-images": lambda: command(
        sdl.top_images,
        "dictionary x out latents model folder number",
        x=Annotated[Path, arg(help="a store (.h5) that `sdlcore extract` made from images")],
        out=Annotated[Path, arg(help="file to write (.html)")],
        folder=Path | None,
        model=Annotated[str | None, arg(help="as for `sdlcore extract`; its preprocessing places the heat map")],
    ),
    "contexts": lambda: command(
        sdl.contexts,
        PLACES,
        out=Annotated[Path, arg(help="folder to write: index.html, and a page for each latent")],
        tokens=Annotated[int | None, arg(help="tokens to read, rounded up to whole contexts; 200,000 if left out")],
        number=Annotated[int | None, arg(help="contexts of each latent; 20 if left out")],
    ),
}
"""Each is made when it is called, since some need packages of an extra."""
REPORTED = (ValueError, OSError, ImportError, sdl.DivergedError)
"""Errors that the user can mend, which are printed without a traceback."""


def main(argv: list[str] | None = None) -> None:
    """Run the command that comes first with the arguments that follow; None for the arguments of the process.

    SystemExit comes with tyro's message if an argument has a wrong type, and with a line for each of the errors
    `REPORTED`.
    """
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name == "--version":
        print(f"{PROGRAM} {sdl.__version__}")
    elif name in ("-h", "--help"):
        print(f"usage: {PROGRAM} COMMAND [OPTIONS]; {PROGRAM} COMMAND --help lists the options\n")
        for each, function in COMMANDS.items():
            with suppress(ModuleNotFoundError):  # an extra that is not installed
                print(f"    {each:<17}{(inspect.getdoc(function()) or '').partition(chr(10))[0]}")
    else:
        if not is_first_process():
            logging.disable(logging.WARNING)
        warnings.showwarning = lambda text, *_, **__: print(f"{PROGRAM}: {printable_lines(text)}", file=sys.stderr)
        with reported(PROGRAM, *REPORTED):
            _run(name, arguments)


def _run(name: str, arguments: list[str]) -> None:
    if name not in COMMANDS:
        advice = did_you_mean(name, COMMANDS) or f"; expected one of {', '.join(COMMANDS)}"
        raise ValueError(f"no such command {name}{advice}")
    load_for_jobs()
    function = COMMANDS[name]()
    in_python: dict[str, Callable[..., Any]] = {"bench": sdl.judged_bench, "solve": sdl.solve}
    collect = collector(function, in_python.get(name, sdl.fit))
    call, unknown = tyro.cli(
        collect,
        prog=f"{PROGRAM} {name}",
        args=arguments,
        return_unknown_args=True,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    if unknown:
        types = collect.__annotations__
        names = {*types, *getattr(types.get("settings"), "__annotations__", ())}
        hint = did_you_mean(unknown[0].lstrip("-").replace("-", "_"), names)
        raise ValueError(f"{name} has no option {unknown[0]}{hint}")
    call()
