"""The command line arguments that all scripts have in common which leave a run: trainings, solvers, other libraries."""

import argparse
import json


def run_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every run is given: settings, seed, threads, a store, and the files that it leaves."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--settings", type=json.loads, required=True, help="settings of the run, JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1, help="of all processes on this machine together")
    parser.add_argument("--store", required=True)
    parser.add_argument("--watch", metavar="REFERENCES", help="tell in the history how many of these directions it has")
    for name in ("--model", "--config", "--history"):
        parser.add_argument(name, required=True)
    return parser
