"""Explain unknown Snakemake targets: suggest another rule, path or configuration."""

from collections.abc import Iterable
from pathlib import Path

from sdlcore.suggestions import did_you_mean
from sdlstudy.configuration.loading import ConfigError, configure, read_given
from sdlstudy.settings.trees import branch

PLAN = "plan_"
"""Prefix of the rule that plans a table."""


def unknown_target(target: str, study: str, rules: Iterable[str], files: Iterable[str], folder: Path) -> str:
    """Explain in one or two sentences why no rule makes a target, and suggest a target.

    Parameters
    ----------
    target
        The unknown target: the name of a table, a figure or a rule, or the path of a file.
    study
        Name of the configuration.
    rules, files
        All targets that exist.
    folder
        Folder of configurations, with ``config.yaml`` as the default, and more of them in ``studies/``. Files that are
        not configurations are skipped.
    """
    if "/" in target:
        return _unknown_path(target, study, files)
    if target.startswith(PLAN):
        product, rules = target.removeprefix(PLAN), set(rules)
        if product in rules:
            return f"{product}: has no plan of its own; snakemake plan estimates the whole configuration"
        planned = [rule.removeprefix(PLAN) for rule in rules if rule.startswith(PLAN)]
        return unknown_target(product, study, planned, files, folder)
    configurations = configurations_with(target, folder)
    if whole := [str(path) for path, is_whole in configurations.items() if is_whole]:
        who = f"{' and '.join(whole)} {'do' if len(whole) > 1 else 'does'}"
        return (
            f"{target}: the configuration {study} does not include it; {who}. "
            f"Try: snakemake {target} --configfile {whole[0]}"
        )
    if configurations:
        first = min(configurations)
        return f"{target}: the configuration {study} does not include it; the first lines of {first} say how to"
    hint = did_you_mean(target, rules) or did_you_mean(target, _default_products(folder))
    return f"{target}: no table, figure, rule or file of the configuration {study}{hint or '; see snakemake --list'}"


def _default_products(folder: Path) -> Iterable[str]:
    """Return the tables and figures of the default configuration, or nothing if there is none."""
    try:
        return configure({}, read_given([folder / "config.yaml"], {})).products()
    except ConfigError:
        return ()


def configurations_with(product: str, folder: Path) -> dict[Path, bool]:
    """Return the configuration files that produce a table or figure of this name, the default first.

    Other files count if they name it, or if they produce it and the default does not. The value is False for a file
    without a ``name``, which only works merged over another.
    """
    first = folder / "config.yaml"
    try:
        default = read_given([first], {})
        configurations = {first: True} if product in configure({}, default).products() else {}
    except ConfigError:
        return {}
    for path in sorted(file for file in (*folder.glob("*.yaml"), *folder.glob("studies/*.yaml")) if file != first):
        try:
            config = read_given([path], {})
            is_named = product in {*config, *branch(config, "tables"), *branch(config, "figures")}
            if "name" not in config:
                configurations |= {path: False} if is_named else {}
            elif (is_named or first not in configurations) and product in configure(config, default).products():
                configurations[path] = True
        except ConfigError:
            continue
    return configurations


def _unknown_path(target: str, study: str, files: Iterable[str]) -> str:
    """Find the first part of a path that does not exist, and suggest the part that was meant."""
    paths = {tuple(file.split("/")) for file in files}
    parts = tuple(target.split("/"))
    for depth, part in enumerate(parts):
        siblings = {path[depth] for path in paths if len(path) > depth and path[:depth] == parts[:depth]}
        if part in siblings:
            continue
        where = "/".join(parts[:depth]) or "the working directory"
        if parts[:depth] == ("results",):
            return f"{target}: the configuration {study} writes only results/{study}; choose the other by --configfile"
        return f"{target}: nothing makes {part} in {where}{did_you_mean(part, siblings)}"
    return f"{target}: a folder, expected a file in it"
