"""Run the tests of the numeric packages as other processors would: `make test-processors` (CONTRIBUTING.md).

Environment variables restrict the instructions of torch's kernels, MKL, oneDNN and numba. Sums are then added up in
other orders, so a test fails that expects the bits, or the luck, of one processor. The table shows the effect of each
variant. A variable can only take instructions away: on a processor without AVX-512, asking for AVX2 changes nothing.
A variant without any effect on this processor is named and not run.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]
PACKAGES = [f"tests/{room}" for room in ("model", "training", "solvers", "losses", "evaluation", "data", "api")]
LOGS = REPOSITORY / "cache/processors"
VARIANTS: list[dict[str, str]] = [
    {"ATEN_CPU_CAPABILITY": "default"},
    {"ATEN_CPU_CAPABILITY": "avx2"},
    {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    # the only one of MKL's that other processors than Intel's heed
    {"MKL_CBWR": "COMPATIBLE"},
    {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    # numba's cache separates compiled code by the processor's name (`Codegen.magic_tuple`)
    {"NUMBA_CPU_NAME": "generic"},
    {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
]
NO_EFFECT = "nothing seen"
SAMPLE = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", **VARIANTS[-1]}
"""Three variants at once, for the few tests of `make test`: numba need not compile anything again."""
TOLD = {
    "ATEN_CPU_CAPABILITY": ("aten", {"default": "DEFAULT", "avx2": "AVX2"}),
    "ONEDNN_MAX_CPU_ISA": ("oneDNN", {"AVX2": "Intel AVX2"}),
    "NUMBA_CPU_NAME": ("numba", {"generic": "generic"}),
    "OMP_NUM_THREADS": ("threads", {"1": "1 1"}),
}
"""By variable: the fact that shows its effect, and the expected value. MKL does not report its instructions."""

_FACTS = """
import hashlib, json, numba, torch
from numba.core.registry import cpu_target

generator = torch.Generator().manual_seed(0)
products = hashlib.sha256()
for m, k, n in ((3, 5, 7), (64, 64, 64), (60, 768, 300), (257, 1000, 130)):
    a, b = torch.randn(m, k, generator=generator), torch.randn(k, n, generator=generator)
    products.update((a @ b).numpy().data)
torch.ops.mkldnn._linear_pointwise(a, b.T.contiguous(), None, "none", [], "")
print("facts", json.dumps({
    "aten": torch.backends.cpu.get_cpu_capability(),
    "numba": cpu_target.target_context.codegen().magic_tuple()[1],
    "threads": f"{torch.get_num_threads()} {numba.config.NUMBA_NUM_THREADS}",
    "products": products.hexdigest(),
}))
"""


class Outcome(NamedTuple):
    """How the tests ended in a variant."""

    passed: int
    failed: int
    """Failed tests and files with errors; at least 1 if pytest itself failed."""
    seconds: float
    failures: list[str]
    output: str
    """Output of pytest."""


def name_of(variant: dict[str, str]) -> str:
    """Return the variables as a shell takes them."""
    return " ".join(f"{key}={value}" for key, value in variant.items())


def environment(variant: dict[str, str]) -> dict[str, str]:
    """Return the environment of a variant, without the variables of other variants."""
    others = {key for other in VARIANTS for key in other}
    variables = {key: value for key, value in os.environ.items() if key not in others}
    return (
        variables
        | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY), str(REPOSITORY / "workflow")])}
        | variant
    )


def facts(variant: dict[str, str]) -> dict[str, str]:
    """Return the instructions that the libraries report in a variant, and a digest of some products' bits."""
    verbose = environment(variant) | {"ONEDNN_VERBOSE": "1"}
    done = subprocess.run([sys.executable, "-c", _FACTS], env=verbose, capture_output=True, text=True, check=True)
    values: dict[str, str] = json.loads(re.findall(r"^facts (.*)", done.stdout, re.M)[0])
    return values | {"oneDNN": "".join(re.findall(r"info,cpu,isa:(.*)", done.stdout)[:1])}


def effect(variant: dict[str, str], plain: dict[str, str]) -> str:
    """Describe the effect of a variant.

    Raises
    ------
    RuntimeError
        If a library does not heed its variable.
    """
    actual = facts(variant)
    for key in variant.keys() & TOLD.keys():
        fact, expected = TOLD[key]
        if actual[fact] != expected[variant[key]]:
            raise RuntimeError(
                f"{key}={variant[key]}: expected {fact} {expected[variant[key]]}, found {actual[fact]}; this processor "
                "or this version of the library does not know it"
            )
    changed = [f"{key} {actual[key]}" for key in sorted(actual) if key != "products" and actual[key] != plain[key]]
    changed += ["other bits of products"] * (actual["products"] != plain["products"])
    return ", ".join(changed) or NO_EFFECT


def run(variant: dict[str, str], *arguments: str) -> Outcome:
    """Run pytest in a variant."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment(variant), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return read(done.stdout, done.returncode, time.monotonic() - began)


def read(output: str, code: int, seconds: float) -> Outcome:
    """Parse the output of pytest and its exit status."""
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", output[-500:])}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    failures = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.M)
    return Outcome(counts.get("passed", 0), max(failed, int(code != 0)), seconds, failures, output)


def main(arguments: list[str]) -> int:
    """Run every variant with an effect over `PACKAGES`, or over the tests that arguments name, and print a table.

    Other arguments are pytest's.
    """
    if not any(argument.startswith("tests/") for argument in arguments):
        arguments = [*arguments, *PACKAGES]
    plain = facts({})
    print("without:", ", ".join(f"{key} {value}" for key, value in sorted(plain.items()) if key != "products"))
    print(f"{'variant':<66} {'passed':>6} {'failed':>6} {'seconds':>7}  changes", flush=True)
    failed = False
    LOGS.mkdir(parents=True, exist_ok=True)
    for variant in VARIANTS:
        changed = effect(variant, plain)
        if changed == NO_EFFECT:
            print(f"{name_of(variant):<66} {'not run':>21}  {changed}", flush=True)
            continue
        outcome = run(variant, *arguments)
        (LOGS / f"{name_of(variant).replace(' ', '.')}.log").write_text(outcome.output)
        numbers = f"{outcome.passed:>6} {outcome.failed:>6} {outcome.seconds:>7.0f}"
        print(f"{name_of(variant):<66} {numbers}  {changed}", *outcome.failures, sep="\n  ", flush=True)
        failed |= outcome.failed > 0
    print(f"output of pytest: {LOGS}/")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
