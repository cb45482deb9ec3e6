"""Describe the machine and the code under measurement, and measure the memory of this process."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MIB = 2**20
WORTH_NAMING = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16")


def describe(cpuinfo: str | None = None) -> dict[str, Any]:
    """Return the processor, its features for matrix products, cores and memory (Linux)."""
    text = cpuinfo if cpuinfo is not None else Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, flags=re.MULTILINE)
    present = set(flags[1].split()) if flags else set()
    return {
        "cpu": model[1].strip() if model else platform.machine(),
        "flags": {flag: flag in present for flag in WORTH_NAMING},
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def processor(facts: Mapping[str, Any]) -> str:
    """Return the maker of a processor and its widest instructions for matrix products, as in "AMD AVX-512 VNNI".

    Speed depends on these more than on the processor's model, so results are kept by them.

    Parameters
    ----------
    facts
        The result of `describe`.
    """
    maker = next((name for name in ("Intel", "AMD") if name.lower() in facts["cpu"].lower()), facts["cpu"].split()[0])
    flags = facts["flags"]
    if flags["amx_tile"]:
        return f"{maker} AMX"
    if flags["avx512_vnni"]:
        return f"{maker} AVX-512 VNNI"
    return f"{maker} AVX-512" if flags["avx512f"] else f"{maker} AVX2" if flags["avx2"] else maker


def folder_of(processor: str) -> str:
    """Return the name of the folder with a processor's results."""
    return processor.lower().replace(" ", "-")


def dtypes(facts: Mapping[str, Any]) -> list[str]:
    """Return the types for which a processor has matrix instructions. A processor emulates other types, slowly.

    Parameters
    ----------
    facts
        The result of `describe`.
    """
    flags = facts["flags"]
    bfloat16 = ["bfloat16"] * (flags["avx512_bf16"] or flags["amx_bf16"])
    return ["float32", *bfloat16, *["int8"] * (flags["avx512_vnni"] or flags["amx_tile"])]


def commit() -> str:
    """Return the commit of this checkout, with "-dirty" if files differ from it; "unknown" without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=9", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def load() -> float:
    """Return the mean number of runnable processes over the last minute (the load average)."""
    return os.getloadavg()[0]


def resident() -> float:
    """Return the resident memory of this process, in MiB."""
    return _status("VmRSS")


def peak() -> float:
    """Return the largest resident memory of this process since `reset_peak`, in MiB."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Reset the peak that `peak` returns (Linux, `man 5 proc_pid_clear_refs`)."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> float:
    found = re.search(rf"^{key}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {key}; memory can be measured on Linux only")
    return int(found[1]) / 1024
