"""Pass odd files and configurations to sdlcore; report cases that end neither in a result nor in a clear error."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from tests.fuzz.harness import KINDS, Result, Worker

NUMBERS = {"images": 200, "configurations": 500, "dictionaries": 400}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=NUMBERS[kind], help=f"how many (default: {NUMBERS[kind]})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs=2, metavar=("KIND", "NUMBER"), help="one case, as a fault was reported")
    options = parser.parse_args(arguments)
    if options.only:
        cases = [(options.only[0], int(options.only[1]))]
    else:
        cases = [(kind, number) for kind in KINDS for number in range(getattr(options, kind))]
    faults: list[Result] = []
    outcomes: Counter[tuple[str, str]] = Counter()
    slowest: dict[str, Result] = {}
    with Worker() as worker:
        for kind, number in cases:
            result = worker.run(kind, options.seed, number)
            outcomes[kind, result.outcome] += 1
            if kind not in slowest or result.seconds > slowest[kind].seconds:
                slowest[kind] = result
            if result.outcome == "fault":
                faults.append(result)
                print(result, flush=True)
            elif options.only:
                print(f"{result.outcome}: {result.what} ({result.seconds:.2f} s)")
    for kind in slowest:
        counts = ", ".join(f"{outcomes[kind, outcome]} {outcome}" for outcome in ("accepted", "refused", "fault"))
        print(f"{kind}: {counts}; at most {slowest[kind].seconds:.1f} s ({slowest[kind].what})")
    if faults:
        sys.exit(f"{len(faults)} of {len(cases)} ended in a fault")


if __name__ == "__main__":
    main(sys.argv[1:])
