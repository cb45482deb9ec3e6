"""Write activations from the user's files, or from a plugin, into activation stores."""

from pathlib import Path
from typing import Any, Literal

from sdlcore.command_line import cli
from sdlcore.sources.files.copying import write_file_stores
from sdlcore.sources.files.settings import FileSource
from sdlcore.sources.plugins.filling import write_plugin_stores
from sdlcore.sources.plugins.settings import PluginSource


def main(*, kind: Literal["file", "plugin"], source: dict[str, Any], train: Path, test: Path) -> None:
    """
    Args:
        kind: kind of the source
        source: settings of the source
        train: training store to write
        test: evaluation store to write
    """
    if kind == "file":
        write_file_stores(FileSource.from_dict(source), train, test)
    else:
        write_plugin_stores(PluginSource.from_dict(source), train, test)


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
