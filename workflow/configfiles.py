"""Check configuration files before Snakemake reads them. The profiles run this, since Snakemake reads profiles first.

Snakemake reads the files of --configfile before the Snakefile. It executes Python code in a file with `__use_yte__`,
may take very long to expand repeated YAML aliases, and reports errors without the name of the file.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("src", "workflow")]

from sdlcore.storage.yaml_files import ConfigError, load_yaml  # noqa: E402
from sdlstudy.configuration.limits import mapping  # noqa: E402


def named(words: list[str]) -> list[str]:
    """Return the files after the last --configfile in Snakemake's command line."""
    files: list[str] = []
    expects_file = False  # whether the next word, if it is no option, is one more file
    for word in words:
        option, equals, value = word.partition("=")
        if option in ("--configfile", "--configfiles"):
            files, expects_file = [value] if equals else [], not equals
        elif word.startswith("-"):
            expects_file = False
        elif expects_file:
            files.append(word)
    return files


def main(words: list[str]) -> None:
    for path in named(words):
        if not Path(path).exists() and not Path(path).suffix:
            sys.exit(f"{path}: no such configuration; if it is a target, name it before --configfile")
        try:
            mapping(load_yaml(path), path)
        except ConfigError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
