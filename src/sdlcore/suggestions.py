"""Suggest a correction for a wrong name: the sdlcore setting that does the same, or the closest name."""

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

from sdlcore.other_libraries import ANSWERS

quoted = re.compile(r"`(\w+)`")
"""Matches an sdlcore setting in an answer."""
CALLED_BY_SOLVERS = {"n_q": "n_atoms", "k": "support", "steps": "max_steps"}
"""Settings of trainings, and their names as settings of solvers."""


def answers(name: str, candidates: set[str]) -> list[str]:
    """Return advice for another library's setting: which sdlcore setting does the same; empty if unknown.

    Parameters
    ----------
    name
        The other library's setting.
    candidates
        The sdlcore settings that the caller accepts. An answer that is a clause is returned only if the valid settings
        include ``n_q``, because such clauses are about training.
    """
    advice: dict[str, str] = {}
    for library, settings in ANSWERS.items():
        answer = settings.get(name, "")
        if answer in candidates:
            advice.setdefault(f"here it is called `{answer}`", library)
        elif not answer.isidentifier() and answer and "n_q" in candidates:
            advice.setdefault(answer, library)
    if len(advice) == 1:
        return list(advice)
    return [f"in {library}: {answer}" for answer, library in advice.items()]


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return the end of an error message about a wrong name, such as "; did you mean topk?"; empty if no name is close.

    A setting of another library (`sdlcore.other_libraries`) brings the sdlcore setting. If a solver is named, a setting
    of trainings brings the solver's setting. A numbered GPU brings the variable that chooses it. Otherwise the message
    suggests the candidate with the most similar letters.
    """
    names = {one.lower(): one for one in candidates}
    advice = [quoted.sub(r"\1", answer) for answer in answers(name, set(names.values()))]
    if not advice and (here := CALLED_BY_SOLVERS.get(name)) in names:
        advice = [f"here it is called {here}"]
    if advice:
        return "; " + "; ".join(advice)
    if name == "gpu" and "cuda" in names:
        return "; did you mean cuda?"
    if "cuda" in names and (number := name.removeprefix("cuda:")).isdigit():
        return f"; write cuda, and choose the GPU in the environment by CUDA_VISIBLE_DEVICES={number}"
    close = get_close_matches(name.lower(), list(names), n=1, cutoff=0.65 if len(name) < 6 else 0.75)
    return f"; did you mean {names[close[0]]}?" if close else ""


def hints(wrong: Sequence[str], candidates: Collection[str]) -> str:
    """Return what `did_you_mean` answers to one name; for several names, each answer follows its name."""
    if len(wrong) == 1:
        return did_you_mean(wrong[0], candidates)
    advice = {name: did_you_mean(name, candidates).removeprefix("; ") for name in wrong}
    return "".join(f"; {name}: {hint}" for name, hint in advice.items() if hint)
