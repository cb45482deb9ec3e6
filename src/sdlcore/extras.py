"""Packages that only some functions need: the extras of ``pip install "sdlcore[NAME]"``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import jinja2
    import pandas as pd

Extra = Literal["clip", "language", "pages", "plot", "saelens", "sklearn", "tables", "tensorboard", "wandb"]


@contextmanager
def extra(name: Extra) -> Iterator[None]:
    """Import packages of an extra in this block.

    Raises
    ------
    ModuleNotFoundError
        If a package is not installed; the message names the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("sdlcore"):
            raise
        package = error.name.partition(".")[0]
        raise ModuleNotFoundError(
            f"this needs {package}, which is not installed: pip install 'sdlcore[{name}]'", name=error.name
        ) from error


def data_frame(*content: Any, **options: Any) -> "pd.DataFrame":
    """Return a pandas table, with the arguments of ``pandas.DataFrame``."""
    with extra("tables"):
        import pandas as pd

    return pd.DataFrame(*content, **options)


def templates(room: str) -> "jinja2.Environment":
    """Return a Jinja environment for the HTML templates of a package, such as ``sdlstudy.report``.

    Values inserted into a template are escaped, and an undefined name is an error.
    """
    with extra("pages"):
        import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(room, "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
