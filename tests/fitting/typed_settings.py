"""Calls that mypy checks, and nobody runs: each error is expected, and an ignored line without an error is one."""

from typing import Any

import sdlcore as sdl


def calls() -> None:
    """Accept valid settings; refuse unknown names and wrong types."""
    sdl.Config(activation="topk", k=8, lr=1e-3)
    sdl.Config(activation="soft_topk", shrink=0.1)
    sdl.Config(k="eight")  # type: ignore[arg-type]


def calls_on_language_models(lm: Any, sae: sdl.Dictionary) -> None:
    """Accept valid options; refuse unknown names and wrong types."""
    sdl.splice(lm, 12, sae, keep_error=False, first_position=True)
    sdl.splice(lm, 12, sae, keep_errors=False)  # type: ignore[call-arg]
    sdl.splice(lm, 12, sae, keep_error="no")  # type: ignore[arg-type]
    sdl.contexts(sae, lm, "text.txt", 3, number=5, context_length=64, bos=True)
    sdl.contexts(sae, lm, "text.txt", 3, numbers=5)  # type: ignore[call-arg]
    sdl.contexts(sae, lm, "text.txt", 3, number="five")  # type: ignore[arg-type]
    sdl.extract(lm, "text.txt", at=["layers.1", "layers.2"], out="stores", max_tokens=1000, dtype="bfloat16")
    sdl.extract(lm, "text.txt", at=["layers.1"], out="stores", token=1000)  # type: ignore[call-arg]
    sdl.extract(lm, "text.txt", at=["layers.1"], out="stores", dtype="int8")  # type: ignore[arg-type]
