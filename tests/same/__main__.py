"""Run the pipeline on two versions of the code, and list every number that differs: `make same BASE=<commit>`.

A change that should change nothing, such as a move of modules, is judged by this. Tensors, activations, metrics,
histories and tables are compared exactly, without provenance and durations.
"""

import argparse
import sys

from tests.same.comparing import differences, outputs_of
from tests.same.versions import check_out, copy_present, run

parser = argparse.ArgumentParser(prog="python -m tests.same", description=__doc__)
parser.add_argument("base", help="commit to compare the working tree with")
parser.add_argument("configurations", nargs="*", default=["tiny"], help="names of configurations; tiny by default")
arguments = parser.parse_args()
before, now = check_out(arguments.base), copy_present()
wrong = []
for configuration in arguments.configurations:
    old, new = (outputs_of(run(version, configuration)) for version in (before, now))
    wrong += [f"{configuration}: {line}" for line in differences(old, new)]
    print(f"{configuration}: {len(old)} files compared")
print("\n".join(wrong) or "the same")
sys.exit(bool(wrong))
