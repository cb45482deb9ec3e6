"""Suggest what was meant by a target that nothing makes: another rule, another path, or another configuration."""

from collections.abc import Iterable
from pathlib import Path

from sdlcore.pipeline import did_you_mean
from sdlcore.study.configuration.loading import ConfigError, configure, read_given
from sdlcore.study.settings.trees import branch

PLAN = "plan_"
"""What the rule of a table's plan is called before its name."""


def unknown_target(target: str, study: str, rules: Iterable[str], files: Iterable[str], folder: Path) -> str:
    """Return why nothing makes a target, and what may have been meant, as a sentence or two.

    Parameters
    ----------
    target
        What was asked for: the name of a table, a figure or a rule, or the path of a file.
    study
        Name of the configuration.
    rules, files
        What can be asked for.
    folder
        Where configurations are, ``config.yaml`` the default among them. Whatever is no configuration is passed over.
    """
    if "/" in target:
        return _unknown_path(target, study, files)
    if target.startswith(PLAN):
        product, rules = target.removeprefix(PLAN), set(rules)
        if product in rules:
            return f"{product}: trains and judges nothing, so there is nothing to plan"
        planned = [rule.removeprefix(PLAN) for rule in rules if rule.startswith(PLAN)]
        return unknown_target(product, study, planned, files, folder)
    found = configurations_with(target, folder)
    if whole := [str(path) for path, is_whole in found.items() if is_whole]:
        who = f"{' and '.join(whole)} {'do' if len(whole) > 1 else 'does'}"
        return (
            f"{target}: the configuration {study} does not ask for it; {who}. "
            f"Try: snakemake {target} --configfile {whole[0]}"
        )
    if found:
        return f"{target}: the configuration {study} does not ask for it; the first lines of {min(found)} say how to"
    hint = did_you_mean(target, rules) or did_you_mean(target, _default_products(folder))
    return f"{target}: no table, figure, rule or file of the configuration {study}{hint or '; see snakemake --list'}"


def _default_products(folder: Path) -> Iterable[str]:
    """Return the tables and figures of the default configuration, nothing where there is none."""
    try:
        return configure({}, read_given([folder / "config.yaml"], {})).products()
    except ConfigError:
        return ()


def configurations_with(product: str, folder: Path) -> dict[Path, bool]:
    """Return the configuration files that ask for a table or figure by its name, the default first.

    Others are those that name it, and those that have it where the default does not. False stands beside one without a
    ``name``, which is there to be laid over another.
    """
    first = folder / "config.yaml"
    try:
        default = read_given([first], {})
        found = {first: True} if product in configure({}, default).products() else {}
    except ConfigError:
        return {}
    for path in sorted(other for other in folder.glob("*.yaml") if other != first):
        try:
            given = read_given([path], {})
            is_named = product in {*given, *branch(given, "tables"), *branch(given, "figures")}
            if "name" not in given:
                found |= {path: False} if is_named else {}
            elif (is_named or first not in found) and product in configure(given, default).products():
                found[path] = True
        except ConfigError:
            continue
    return found


def _unknown_path(target: str, study: str, files: Iterable[str]) -> str:
    """Say at which part of a path no file goes on, and which part was meant."""
    known = {tuple(file.split("/")) for file in files}
    parts = tuple(target.split("/"))
    for depth, part in enumerate(parts):
        here = {path[depth] for path in known if len(path) > depth and path[:depth] == parts[:depth]}
        if part in here:
            continue
        where = "/".join(parts[:depth]) or "the working directory"
        if parts[:depth] == ("results",):
            return f"{target}: the configuration {study} makes results/{study} alone; name the other by --configfile"
        return f"{target}: nothing makes {part} in {where}{did_you_mean(part, here)}"
    return f"{target}: a folder, expected a file in it"
