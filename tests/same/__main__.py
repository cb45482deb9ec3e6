"""Run the pipeline on two versions of the code, and list every number that differs: `make same BASE=<commit>`.

A change that should change nothing, such as a move of modules, is judged by this. Tensors, activations, metrics,
histories and tables are compared exactly. Left out are provenance and whatever hangs on a clock.
"""

import argparse
import sys
from pathlib import Path

from tests.same.comparing import differences, outputs_of, read_omissions, without
from tests.same.versions import check_out, copy_present, run

parser = argparse.ArgumentParser(prog="python -m tests.same", description=__doc__)
parser.add_argument("base", help="commit to compare the working tree with")
parser.add_argument("configurations", nargs="*", default=["tiny"], help="names of configurations; tiny by default")
parser.add_argument("--without", type=Path, help="file that lists what is left out, because the change removes it")


def main() -> None:
    """Run the configurations on both versions, and exit with 1 if anything differs."""
    arguments = parser.parse_args()
    before, now = check_out(arguments.base), copy_present()
    omissions = read_omissions(arguments.without.read_text()) if arguments.without else []
    unused, wrong = set(omissions), []
    for configuration in arguments.configurations:
        old, new = (outputs_of(run(version, configuration)) for version in (before, now))
        old, used = without(old, omissions)
        new, _ = without(new, omissions)
        unused -= used
        wrong += [f"{configuration}: {line}" for line in differences(old, new)]
        print(f"{configuration}: {len(old)} files compared")
    wrong += [f"{arguments.without}: {omission} matches nothing in {arguments.base}" for omission in sorted(unused)]
    print("\n".join(wrong) or "the same")
    sys.exit(bool(wrong))


main()
