"""Check configuration files before Snakemake reads them: run by the profiles, which Snakemake reads first.

What --configfile names is read before the Snakefile is, and then Snakemake runs the Python code of a file that says
`__use_yte__`, goes over what aliases repeat for as long as that takes, and ends in errors that name no file.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from sdlcore.study.configuration.yaml_files import ConfigError, load_yaml, mapping


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    for path in parser.parse_known_args(argv)[0].configfile:
        try:
            mapping(load_yaml(path), path)
        except ConfigError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
