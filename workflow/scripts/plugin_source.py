"""Write activations from a plugin to activation stores."""

from pathlib import Path

from sdlcore.pipeline import PluginSource, cli, write_plugin_stores


def main(*, source: PluginSource, train: Path, test: Path) -> None:
    """
    Args:
        source: settings of the source
        train: training store to write
        test: evaluation store to write
    """
    write_plugin_stores(source, train, test, __file__)


if __name__ == "__main__":
    cli(main)
