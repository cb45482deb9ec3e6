"""Packages that only some functions need: the extras of ``pip install "sdlcore[NAME]"``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
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
    """Return a pandas table; the arguments are those of ``pandas.DataFrame``."""
    with extra("tables"):
        import pandas as pd

    return pd.DataFrame(*content, **options)
