"""Write activations from a plugin to activation stores."""

from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.sources.plugins.filling import write_plugin_stores
from sdlcore.sources.plugins.settings import PluginSource


def main(*, source: PluginSource, train: Path, test: Path) -> None:
    """
    Args:
        source: settings of the source
        train: training store to write
        test: evaluation store to write
    """
    write_plugin_stores(source, train, test)


if __name__ == "__main__":
    cli(main)
