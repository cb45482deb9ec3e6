"""Commands from functions of Python: the same parameters and help, with files where Python takes objects."""

import inspect
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict, Union, get_args

import docstring_parser
import tyro

from sdlcore.data.conversion import array
from sdlcore.data.reading import ActivationStore
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import load
from sdlcore.dictionary.run_folder import run_folder
from sdlcore.inside.hooks import Place
from sdlcore.interop.tensors import UnsaidError
from sdlcore.plugins.registry import Kind, own_settings
from sdlcore.settings import Settings, type_of
from sdlcore.storage.files import write_text

DICTIONARY = "a run's folder, a .safetensors file, or a folder of SAELens, dictionary_learning or sparsify"
SAMPLES = "activations: a store (.h5) or an .npy file"
LAYER = (
    "block that the dictionary was fitted on, counted from 1, or blocks.11.hook_resid_post or model.layers.11 for "
    "block 12. Runs of the pipeline, and of `sdlcore fit` on a language model's store, record it"
)
PLACE = (
    "a site (residual, residual_before, residual_middle, attention_output, mlp_input, mlp_output), mlp, or PATH:input "
    "or PATH:output of a module; residual for an autoencoder, mlp for a transcoder if left out"
)
TEXT = "a text file, JSON lines, Parquet, a folder of these, or dataset:OWNER/NAME"
COLUMN = "key of JSON lines, column of Parquet files and data sets, that contains the text; text if left out"
TARGET = "activations that a transcoder writes, or a crosscoder's second site, as an .npy file"
arg = tyro.conf.arg
InputPath = Annotated[Path, tyro.conf.Positional, arg(help=SAMPLES)]
DictionaryPath = Annotated[Path, tyro.conf.Positional, arg(help=DICTIONARY)]
DictionaryPaths = Annotated[
    tuple[Path, ...],
    tyro.conf.Positional,
    arg(metavar="PATH [PATH ...]", help_behavior_hint="(required)", help=f"{DICTIONARY}; or several, such as sweep/*"),
]
TargetPath = Annotated[Path | None, arg(help=TARGET)]
OUT = Annotated[Path, arg(help="folder to write")]
CSV = Annotated[Path | None, arg(help="CSV file to write")]
TYPES: dict[str, Any] = {
    "dictionary": DictionaryPath,
    "dictionaries": DictionaryPaths,
    "before": DictionaryPath,
    "after": DictionaryPath,
    "beside": Annotated[tuple[Path, ...] | None, arg(help="further dictionaries to compare the first with")],
    "x": Annotated[Path, arg(help=SAMPLES)],
    "target": TargetPath,
    "lm": Annotated[str, arg(name="model", help="a folder with a transformers model, or its name at the hub")],
    "texts": Annotated[str, arg(name="text", help=TEXT)],
    "text_options": Annotated[str | None, arg(name="text-column", help=COLUMN)],
    "out": OUT,
    "layer": Annotated[int | str | None, arg(help=LAYER)],
    "place": Annotated[Place | None, arg(help=PLACE)],
    "latents": Annotated[tuple[int, ...] | None, arg(help="their numbers, such as 724 31; 20 latents if left out")],
}
"""Types and help of parameters whose values are objects in Python. Other parameters keep their types and help."""


def open_dictionary(path: Path) -> Dictionary:
    """Open a dictionary; the error for plain tensors that need options shows a command that takes them."""
    try:
        return load(path)
    except UnsaidError as error:
        first = f"sdlcore import {path} --activation topk --k 8 --out run"
        raise ValueError(f"{error}: first write it as a run with these options, such as `{first}`") from error


def open_dictionaries(paths: Path | Sequence[Path]) -> Any:
    """Open a dictionary, or several by their paths; ValueError if there is none."""
    if isinstance(paths, Path):
        return open_dictionary(paths)
    if not paths:
        raise ValueError(f"give a dictionary: {DICTIONARY}")
    return {str(path): open_dictionary(path) for path in paths}


READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("dictionary", "dictionaries", "before", "after", "beside"), open_dictionaries),
    "labels": lambda path: array(path, "labels").tolist(),
    "text_options": lambda column: {"column": column},
}
"""How the value of an option becomes the object that the function takes."""


def new_folder(out: Path) -> Path:
    """Return a folder for a new dictionary; ValueError if it is not empty."""
    folder = run_folder(out)
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; choose another folder")
    return folder


def command(function: Callable[..., Any], names: str, **types: Any) -> Callable[..., None]:
    """Return a command that calls a function of Python, prints its result, and writes it to ``--out``.

    ``names`` are the function's parameters that become options. ``types`` replace types in the signature or in
    `TYPES`. A dictionary is written to a new folder, pages as HTML, and a table as CSV, unless the function itself
    takes ``out``. Options that are left out are not passed on, so the function's defaults hold.
    """
    parameters = inspect.signature(function).parameters
    makes_dictionary = inspect.signature(function).return_annotation is Dictionary and "out" not in parameters

    def call(**values: Any) -> None:
        out = values["out"] if "out" in parameters else values.pop("out", None)
        folder = new_folder(out) if makes_dictionary else None  # refused before anything is computed
        arguments = {name: value for name, value in values.items() if value not in (None, ())}
        for name, read in READERS.items():
            if name in arguments:
                arguments[name] = read(arguments[name])
        result = function(**arguments)
        for each in result if type(result) is list else [result]:
            print(f"{each}: {out}" if isinstance(each, Dictionary) else each)
            if isinstance(each, ActivationStore):
                each.close()
        if folder is not None:
            result.save(folder)
        elif hasattr(result, "to_html"):
            print(result.to_html(out))
        elif out is not None and "out" not in parameters:
            frame = result.to_frame()
            write_text(out, frame.to_csv(index=type(frame.index).__name__ != "RangeIndex", lineterminator="\n"))

    def parameter(name: str) -> inspect.Parameter:
        template = parameters.get(name, inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None))
        annotation = types.get(name, TYPES.get(name, template.annotation))
        default = inspect.Parameter.empty if name == "out" and annotation is not CSV else template.default
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    call.__signature__ = inspect.Signature([parameter(name) for name in names.split()])  # type: ignore[attr-defined]
    call.__doc__ = function.__doc__
    return call


def collector(function: Callable[..., None], other: Callable[..., Any]) -> Callable[..., partial[None]]:
    """Return a function that collects the options of a command, so that a wrong option stops it before it runs.

    Its help is the beginning of the command's docstring, then its options. Options that the docstring does not describe
    take their text from the function ``other``. The settings of a training or a solver are options, too.
    """

    def collect(**options: Any) -> partial[None]:
        return partial(function, **options)

    parameters = inspect.signature(function).parameters
    types = {name: parameter.annotation for name, parameter in parameters.items()}
    if "settings" in types:
        types["settings"] = _options_of(types, *get_args(types["settings"])[1:])
    typed = [parameter.replace(annotation=types[name]) for name, parameter in parameters.items()]
    collect.__signature__ = inspect.Signature(typed)  # type: ignore[attr-defined]
    collect.__annotations__ = types
    docs = [docstring_parser.parse(inspect.getdoc(each) or "") for each in (function, other)]
    texts = {
        name: " ".join((option.description or "").split())
        for doc in reversed(docs)
        for option in doc.params
        for name in option.arg_name.split(", ")
    }
    lines = [docs[0].short_description or "", "", docs[0].long_description or "", "", "Args:"]
    collect.__doc__ = "\n".join([*lines, *(f"    {name}: {text}" for name, text in texts.items())]).replace("``", "")
    return collect


def _options_of(parameters: Collection[str], cls: type[Settings], *kinds: Kind) -> Any:
    """Return a TypedDict with the settings of a class and of plugins.

    No option is required. The command receives only the given options; a start and the defaults determine the others.
    A plugin's setting whose name is ``parameters`` by a parameter of the command has no option.
    """
    options = {
        name: _option(type_of(field), cls.text_of(name), field.get_default())
        for name, field in cls.model_fields.items()
    }
    for name, plugins in own_settings(*kinds).items():
        if name not in parameters:
            types: Any = Union[*(type_of(plugin.settings.model_fields[name]) for plugin in plugins)]
            text = "; ".join(f"{plugin.text_of(name)} (of {plugin.kind} {plugin.name})".strip() for plugin in plugins)
            options[name] = _option(types, text, plugins[0].settings.model_fields[name].default)
    return TypedDict("Options", options, total=False)  # type: ignore[operator]


def _option(annotation: Any, text: str, default: Any) -> Any:
    return Annotated[annotation, arg(help=text, help_behavior_hint=f"(default: {default})")]
