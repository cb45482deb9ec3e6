"""Calls that mypy checks, and nobody runs: each error is expected, and an ignored line without an error is one."""

from typing import Any

import sdlcore as sdl


def calls() -> None:
    """Accept valid settings; refuse unknown names and wrong types."""
    sdl.fit("x.npy", activation="topk", k=8, lr=1e-3)
    sdl.fit("x.npy", solver="acs", n_atoms=100)
    of_plugin: dict[str, Any] = {"shrink": 0.1}
    sdl.fit("x.npy", activation="soft_topk", **of_plugin)
    sdl.fit("x.npy", k="eight")  # type: ignore[arg-type]
    sdl.fit("x.npy", kk=8)  # type: ignore[call-arg]
    sdl.fit_many("x.npy", {"a": {"k": 8}}, lr="high")  # type: ignore[arg-type]
    sdl.Bench.draw(n=64, sparsity="high")  # type: ignore[arg-type]
