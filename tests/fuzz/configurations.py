"""Configurations that users may write: with wrong values, with odd but valid ones, and texts that are hardly YAML.

Wrong values are rejected by key. Accepted configurations can be planned, and validating them again changes nothing.
"""

import copy
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sdlcore.storage.yaml_files import parse
from sdlstudy.configuration.limits import mapping
from sdlstudy.configuration.loading import ConfigError, configure, load_yaml, validate
from sdlstudy.settings.cells import run_settings
from tests.conftest import REPOSITORY
from tests.fuzz.cases import ACCEPTED, Case, Fault, choose, refusal

CONFIG = REPOSITORY / "config"
NAME = "fuzz.yaml"
SOME_CELLS = 200
"""Largest number of runs whose settings are examined."""

OWN: dict[str, Any] = {
    "name": "mine",
    "sources": {
        "file": {"mine": {"input": "data/x.npy", "labels": "data/y.npy", "test_share": 0.2, "run": {"n_q": 64}}},
        "language": {"model": {"model": "models/llama", "text": "data/text.json", "layer": 3, "train_samples": 1000}},
    },
    "methods": {"mine": {"activation": "topk", "k": 4, "bias": True, "dead_after": 1000}},
    "protocols": {"mine": {"run": {"steps": 100, "batch_size": 64, "lr": 0.001}}},
    "figures": {"figure6": {"source": "mine"}},
}
"""A configuration with a user's own sources."""


_load = cache(load_yaml)


def _valid() -> dict[str, dict[str, Any]]:
    """Return valid configurations, each with its own name."""
    paths = ("tiny.yaml", "paper.yaml", "studies/harder.yaml", "studies/law.yaml")
    files = {Path(path).stem: _load(CONFIG / path) for path in paths}
    return {name: {"name": name, **mapping} for name, mapping in files.items()} | {"own": OWN}


def make(rng: np.random.Generator, folder: Path) -> Case:
    """Make the text of one configuration; omitted parts are the default's."""
    kind = int(rng.integers(10))
    if kind < 4:
        what, document, keys = _wrong(rng)
        return Case(what, lambda: _check(_dump(document), keys, must_refuse=True))
    if kind < 7:
        what, document = _odd(rng)
        return Case(what, lambda: _check(_dump(document), [NAME, "name", *_keys(document)]))
    text = choose(rng, *CRAFTED)
    if rng.random() < 0.5 and isinstance(text, str):
        text = _dump(choose(rng, *_valid().values())) + "\n" + text
    content = text if isinstance(text, bytes) else text.encode("utf-8", errors="surrogatepass")
    names = [NAME, *_keys(OWN), "name", "seeds", "sources", "top level", "n"]
    return Case(f"text {content[-60:]!r}", lambda: _check(content, names))


def _check(content: str | bytes, names: list[str], must_refuse: bool = False) -> str:
    default = _load(CONFIG / "config.yaml")
    try:
        config = configure(mapping(parse(content, NAME), NAME), default)
    except ConfigError as error:
        return refusal(error, names)
    if must_refuse:
        raise Fault(f"was accepted, though {names} is wrong")
    written = config.model_dump()
    before = copy.deepcopy(written)
    again = validate(written).model_dump()
    if written != before:
        raise Fault("validating again changed what was given")
    if again != written:
        parts = [key for key in again.keys() | written.keys() if again.get(key) != written.get(key)]
        raise Fault(f"validating again gives something else: {parts}")
    for cell in config.all_cells()[:SOME_CELLS]:
        run_settings(config, cell)
    return ACCEPTED


def _dump(document: Any) -> str:
    digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)  # a user's file may contain a number with thousands of digits
    try:
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    finally:
        sys.set_int_max_str_digits(digits)


def _places(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield every path below a tree, with its value."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        yield (*path, key), child
        yield from _places(child, (*path, key))


def _keys(tree: Any) -> list[str]:
    return sorted({str(part) for path, _ in _places(tree) for part in path})


def _put(tree: Any, path: tuple[str | int, ...], value: Any) -> None:
    for part in path[:-1]:
        tree = tree[part]
    tree[path[-1]] = value


def _wrong(rng: np.random.Generator) -> tuple[str, Any, list[str]]:
    """Return a configuration with one value of an impossible type, and the name of its key."""
    name, document = choose(rng, *_valid().items())
    document = copy.deepcopy(document)
    places = [(path, value) for path, value in _places(document) if value is not None]
    path, value = places[int(rng.integers(len(places)))]
    if isinstance(value, dict):
        if rng.random() < 0.5:
            value["no_such_key"] = choose(rng, 3, "x", [], True, 1e300)
            where = ".".join(map(str, path))
            return f"{name} with an unknown key in {where}", document, ["no_such_key"]
        wrong = choose(rng, "text", 3, [1], True, [{}])
    elif isinstance(value, list):
        wrong = choose(rng, {"a": 1}, "text", 3.5, True)
    elif isinstance(value, bool):
        wrong = choose(rng, "maybe", [], {"a": True}, 3)
    elif isinstance(value, int | float):
        wrong = choose(rng, {"a": 1}, [[]], "text", float("nan"), float("inf"), True, -(10**25), 10**5000)
    else:
        wrong = choose(rng, {"a": 1}, [[1]], "a\nb", "x\0", "a\udcffb", "", "{config}", "'; touch pwned; '", "\x7f")
        if wrong == "'; touch pwned; '" and _is_free(path):
            wrong = "x\n"
    _put(document, path, wrong)
    # errors name the list of a wrong item
    key = next(str(part) for part in reversed(path) if isinstance(part, str))
    return f"{name} with {'.'.join(map(str, path))} = {_text_of(wrong)}", document, [key, f"{NAME}: line"]


def _text_of(value: Any) -> str:
    return "a number of thousands of digits" if isinstance(value, int) and value > 10**100 else repr(value)[:30]


def _is_free(path: tuple[str | int, ...]) -> bool:
    """Return whether any text is valid there, as for paths of files."""
    return path[-1] in ("input", "labels", "model", "text", "images", "pretrained", "cache", "wandb", "peers_python")


def _odd(rng: np.random.Generator) -> tuple[str, Any]:
    """Return a configuration with a few values that may be valid."""
    name, document = choose(rng, *_valid().items())
    document = copy.deepcopy(document)
    done = []
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(document))
        path, value = places[int(rng.integers(len(places)))]
        new: Any
        if isinstance(value, bool):
            new = not value
        elif isinstance(value, int):
            new = choose(rng, value * 2, value + 1, 0, 1, -1, 10**9, 10**21, 2**63, float(value))
        elif isinstance(value, float):
            new = choose(rng, value * 2, value / 3, 0.0, 1.0, -1.0, 1e-300, 1e300, 5e-324)
        elif isinstance(value, str):
            new = choose(rng, value + "x", value.upper(), value * 100, "none", "default", "../x", "a b", "all", "$HOME")
        elif isinstance(value, list):
            new = choose(rng, [], value + value, value[::-1], value * 2000, [None])
        else:
            new = choose(rng, None, {}, copy.deepcopy(value))
        if rng.random() < 0.2:
            parent = document
            for part in path[:-1]:
                parent = parent[part]
            del parent[path[-1]]
            done.append(f"without {'.'.join(map(str, path))}")
        else:
            _put(document, path, new)
            done.append(f"{'.'.join(map(str, path))} = {_text_of(new)}")
    if rng.random() < 0.2:
        document["seeds"] = choose(rng, [0], list(range(100)), [2**31], [2**63], [10**30], list(range(5000)))
        done.append("other seeds")
    return f"{name} with {', '.join(done)}", document


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
CRAFTED: tuple[str | bytes, ...] = (
    *("name: &x [*x]", "sources: &s {bench: *s}", "name: mine\nseeds: &s [0, *s]", BOMB, "name: mine\n" + BOMB),
    *("[" * 10_000, "{a: " * 10_000, "- " * 5000 + "x", "name: mine\nname: yours", "seeds: [0]\nseeds: [1]"),
    *("name: mine\nsources: {bench: {a: {n: 8}}, bench: {b: {n: 8}}}", "\tname: mine", "name: [mine", "name: 'mine"),
    *("---\nname: a\n---\nname: b", "!!python/object/apply:os.system ['touch pwned']", "name: !!python/name:os.system"),
    *("name: !!binary 'x'", "name: 2026-01-01", "name: 2026-13-45", "? [a]\n: b", "? {a: b}\n: c", "1: 2", "true: 3"),
    *("null: 3", "2026-01-01: 3", "<<: 3", "<<: [3]", "<<: *x", "name: *missing"),
    *("name: mine\nseeds: [1" + "0" * 5000 + "]", "name: mine\nseeds: [0x]", "seeds: [1:30:30]", "seeds: [.inf]"),
    *("seeds: [1e400]", "seeds: [0o17]", "seeds: [0b1]", "=: 3", "name: =", "", "mine", "- name: mine", "# nothing"),
    *("%YAML 9.9\n---\nname: a", "{}", '{"name": "a"', "null", '{"name": "mine", "name": "yours"}'),
    *("name: mine\n" * 3000, "name: " + "m" * 300_000, "n" * 5000 + ": 3", "name: mine", "name: 'a\n\n b'"),
    *('name: "a\\nb"', 'name: "a\\0"', 'name: "\\ud800"', "name: <results>", "name: '{name}'"),
    *("name: mine\n__use_yte__: true\n?import os: 3", "name: -rf", "name: ../../x", "name: .", "name: a/b"),
    *("name: 'a '", "name: mine\ncache: '{config[wandb]}'\nwandb: \"x'; touch pwned; echo '\"", "name: mine\ncache: /"),
    *("name: Ä", "name: mine\nsources: {bench: {lrb: {n: 1000000000000000000000}}}", "name: mine\nseeds: [0, 0.0]"),
    *("name: !!set {a}", "name: mine\nfigures: {figure9: {source: [a]}}", "name: mine\ntables: {table9: {}}"),
    *("name: !!omap [a: b]", "a: !x y", "name: mine\nsources: {bench: {all: {like: all}}}"),
    *("name: mine\nsources: {bench: {a: {like: b}, b: {like: a}}}", "name: mine\nmethods: {a: {like: a}}"),
    *("name: mine\nmethods: {a: {like: b}, b: {like: a}}", "name: mine\nsplit: yes"),
    *("name: mine\nmethods: {a: {like: topk, warm_start: b}, b: {like: topk, warm_start: a}}", "name: null", "name: ~"),
    *(b"\xff\xfe\x00", b"name: \xe4", b"\xef\xbb\xbfname: mine", b"name: mine\x00", "name: mine".encode("utf-16")),
    *(b"\x80", b"name: mine\r\nseeds: [0]\r\n", b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"name: \x1b[31mmine"),
    *(b"name: mi\xe2\x80\xa8ne",),
)
"""Texts, used alone or appended to a configuration."""
