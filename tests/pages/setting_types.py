"""The types of settings that functions take by name, so that editors complete and check them.

`python -m tests.pages.setting_types` writes `sdlcore.api.setting_types` anew from the settings.
"""

from collections.abc import Collection
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from sdlcore.plugins.names import Name
from sdlcore.run import PART_OF, PARTS
from sdlcore.settings import Settings
from sdlcore.solvers.settings import SolverConfig
from sdlcore.sources.bench.settings import BenchSource
from sdlcore.sources.synth.settings import SynthSource
from tests.conftest import REPOSITORY

PATH = REPOSITORY / "src/sdlcore/api/setting_types.py"
HEAD = '''"""Types of the settings that functions take by name: `sdlcore.fit` takes `FitSettings`.

Made by ``python -m tests.pages.setting_types`` from the settings' classes, which document each setting. A setting of a
plugin is not listed; a type checker accepts it in a ``dict[str, Any]``, as in ``fit(x, **settings)``.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypedDict

from sdlcore.sources.bench.settings import Hierarchy
'''


def text_of(annotation: Any) -> str:
    """Return a type as source, without its limits."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return text_of(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments)).replace(chr(39), chr(34))}]"
    if origin in (Union, UnionType):
        return " | ".join(text_of(argument) for argument in arguments)
    if origin is tuple:
        return f"Sequence[{text_of(arguments[0])}]"
    if annotation is NoneType:
        return "None"
    return f"{annotation.__name__} | dict[str, Any]" if annotation.__name__ == "Hierarchy" else annotation.__name__


def types_of(*parts: type[Settings], without: Collection[str] = ()) -> dict[str, str]:
    """Return the types of the settings of several classes by name, without some; a name of two classes has its first.

    A function leaves out settings that it has as parameters, and a class those that it inherits.
    """
    types: dict[str, str] = {}
    for part in parts:
        for name, field in part.model_fields.items():
            if name in without or (part is PARTS["model"] and name not in PART_OF):
                continue
            text = text_of(field.annotation)
            for name_of_plugin in (one for one in field.metadata if isinstance(one, Name)):
                text = f"{text_of(Literal[name_of_plugin.ours])} | {text}"  # a plugin can add names
            types.setdefault(name, text)
    return types


def source() -> str:
    """Return the source of the module."""
    model, loss, training = PARTS.values()
    # settings of a training have the same types for solvers, or wider ones
    solver_types = types_of(SolverConfig, without=[*PART_OF])
    classes: list[tuple[str, str, str, dict[str, str]]] = [
        ("CoderSettings", "TypedDict", "Settings of a model and of its loss.", types_of(model, loss)),
        (
            "FitSettings",
            "CoderSettings",
            "Settings of a training by gradient descent or of a solver.",
            {**types_of(training), **solver_types},
        ),
        ("SolverSettings", "TypedDict", "Settings of a solver.", types_of(SolverConfig)),
        ("BenchSettings", "TypedDict", "Settings of a Linear Representation Bench.", types_of(BenchSource)),
        ("SynthSettings", "TypedDict", "Settings of a bench with SynthSAEBench's distribution.", types_of(SynthSource)),
    ]
    blocks = []
    for name, base, text, types in classes:
        keys = "\n".join(f"    {key}: {kind}" for key, kind in types.items())
        blocks.append(f'class {name}({base}, total=False):\n    """{text}"""\n\n{keys}')
    return HEAD + "\n\n" + "\n\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    PATH.write_text(source())
