"""Suggest what was meant by a wrong name: the sdlcore setting that does the same, or the closest name."""

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

from sdlcore.other_libraries import ANSWERS

quoted = re.compile(r"`(\w+)`")
"""Matches an sdlcore setting in an answer."""
CALLED_BY_SOLVERS = {"n_q": "n_atoms", "k": "support", "steps": "max_steps"}
"""Settings of trainings, and their names as settings of solvers."""


def answers(name: str, known: set[str]) -> list[str]:
    """Return advice for another library's setting: which sdlcore setting does the same; empty if unknown.

    Parameters
    ----------
    name
        The other library's setting.
    known
        The sdlcore settings that the caller accepts. An answer that is a clause is returned only if the valid settings
        include ``n_q``, because such clauses are about training.
    """
    found: dict[str, str] = {}
    for library, settings in ANSWERS.items():
        answer = settings.get(name, "")
        if answer in known:
            found.setdefault(f"here it is called `{answer}`", library)
        elif not answer.isidentifier() and answer and "n_q" in known:
            found.setdefault(answer, library)
    if len(found) == 1:
        return list(found)
    return [f"in {library}: {answer}" for answer, library in found.items()]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message about a wrong name, such as "; did you mean topk?"; empty if no name is close.

    A setting of another library (`sdlcore.other_libraries`) brings the sdlcore setting. If a solver is named, a setting
    of trainings brings the solver's setting. Otherwise the message suggests the known name with the most similar
    letters.
    """
    names = {one.lower(): one for one in known}
    found = [quoted.sub(r"\1", answer) for answer in answers(name, set(names.values()))]
    if not found and (here := CALLED_BY_SOLVERS.get(name)) in names:
        found = [f"here it is called {here}"]
    if found:
        return "; " + "; ".join(found)
    if name == "gpu" and "cuda" in names:
        return "; did you mean cuda?"
    close = get_close_matches(name.lower(), list(names), n=1, cutoff=0.65 if len(name) < 6 else 0.75)
    return f"; did you mean {names[close[0]]}?" if close else ""


def hints(wrong: Sequence[str], known: Collection[str]) -> str:
    """Return what `did_you_mean` answers to one name; for several names, each answer follows its name."""
    if len(wrong) == 1:
        return did_you_mean(wrong[0], known)
    found = {name: did_you_mean(name, known).removeprefix("; ") for name in wrong}
    return "".join(f"; {name}: {hint}" for name, hint in found.items() if hint)
