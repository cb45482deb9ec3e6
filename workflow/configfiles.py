"""Check configuration files before Snakemake reads them: run by the profiles, which Snakemake reads first.

What --configfile names is read before the Snakefile is, and then Snakemake runs the Python code of a file that says
`__use_yte__`, goes over what aliases repeat for as long as that takes, and ends in errors that name no file.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from sdlcore.study.configuration.yaml_files import ConfigError, load_yaml, mapping


def named(words: list[str]) -> list[str]:
    """Return the files that the last --configfile in Snakemake's command line names."""
    files: list[str] = []
    taken = False  # whether a word that is no option is one more of them
    for word in words:
        option, equals, value = word.partition("=")
        if option in ("--configfile", "--configfiles"):
            files, taken = [value] if equals else [], not equals
        elif word.startswith("-"):
            taken = False
        elif taken:
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
