"""The base of settings: which values fit, what errors say, and what is read from JSON."""

import json
import math
import sys
from importlib import import_module
from typing import Annotated, Literal, get_args

import numpy as np
import pytest
from annotated_types import Ge, Lt

from sdlcore.run import RunConfig
from sdlcore.settings import AsGiven, FromList, Seed, Settings, Text, checked, type_of


class Inner(Settings):
    size: Annotated[int, Ge(1)]


class Outer(Settings):
    name: Text
    share: Annotated[float, Ge(0), Lt(1), AsGiven] = 0.5
    side: Literal["input", "target"] | None = None
    blocks: Annotated[tuple[Annotated[int, Ge(1)], ...], FromList] | None = None
    inner: Inner | None = None
    power: Literal[1, 2] = 1


def test_json_becomes_settings_with_tuples_and_settings_within():
    assert Outer.from_dict({"name": "a"}) == Outer("a")
    values = {"name": "a", "share": 0, "side": "input", "blocks": [1, 2], "inner": {"size": 3}}
    assert Outer.from_dict(values) == Outer("a", 0, "input", (1, 2), Inner(3))
    assert Outer.from_dict({"name": "a", "blocks": None, "inner": None}) == Outer("a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "missing settings: name"),
        (
            {"name": "a", "sides": 1},
            "unknown settings: sides; expected some of name, share, side, blocks, inner, power",
        ),
        ({"name": ""}, "name must be at least 1 characters long, found ''"),
        ({"name": "a", "share": 1}, "share must be below 1, found 1"),
        ({"name": "a", "side": "output"}, "side must be one of input, target, found 'output'"),
        ({"name": "a", "power": 3}, "power must be one of 1, 2, found 3"),
        ({"name": "a", "blocks": [2, 0]}, r"blocks must be at least 1, found \[2, 0\]"),
        ({"name": "a", "inner": {"size": 0}}, "size must be at least 1, found 0"),
    ],
)
def test_what_settings_may_not_be_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        Outer.from_dict(settings)


SOURCES = ("bench", "files", "images", "language", "saelens", "synth")


def test_no_setting_takes_a_number_that_is_not_finite():
    numbers = set()
    for module in ("run", *(f"{room}.settings" for room in ("solvers", "data", *(f"sources.{s}" for s in SOURCES)))):
        for cls in vars(import_module(f"sdlcore.{module}")).values():
            for name, field in cls.model_fields.items() if isinstance(cls, type) and issubclass(cls, Settings) else ():
                kinds = (field.annotation, *get_args(field.annotation))
                if {float, int} & {getattr(kind, "__origin__", kind) for kind in kinds}:
                    numbers.add(name)
                    for value in (math.nan, math.inf, -math.inf, np.float32("inf")):
                        with pytest.raises(ValueError, match=f"{name} must be"):
                            checked(name, type_of(field), value)
    assert {"lr", "gradient_clip", "lambda_anchor", "ridge", "sparsity", "outlier_norm", "k"} <= numbers


NOT_FINITE = "lambda_anchor must be a finite number, found"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *(
            (lambda value=value: RunConfig.from_dict({"lambda_anchor": value}), NOT_FINITE)
            for value in (math.nan, math.inf, 10**400)
        ),
        (
            lambda: RunConfig.from_dict({"lambda_anchor": 1e39}),
            r"lambda_anchor must be at most 3.4e\+38 in size, which float32 can hold",
        ),
        (lambda: Outer.from_dict({"name": "a", "inner": {"size": np.int64(-3)}}), "size must be at least 1"),
        (lambda: Outer("a", np.float32(1)), "share must be below 1"),
        (lambda: Outer("a").changed(share=2), "share must be below 1, found 2"),
        (lambda: Outer("a", inner=3), "inner must be a mapping of size, found 3"),
        (lambda: Inner(1, 2), "Inner takes size, each once"),
        (lambda: Inner(1, size=2), "Inner takes size, each once"),
        *(
            (lambda seed=seed: checked("seed", Seed, seed), "seed must be")
            for seed in (None, -1, 2**63, 0.5, True, "0")
        ),
    ],
)
def test_values_out_of_range_are_refused_by_name(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_the_largest_numbers_and_numpys_seeds_are_accepted():
    assert RunConfig.from_dict({"l1": float(np.finfo(np.float32).max)}).loss.l1 > 1e38
    assert checked("seed", Seed, np.int64(3)) == 3


def test_numpys_numbers_are_checked_and_become_pythons():
    settings = Outer.from_dict(
        {"name": "a", "share": np.float32(0.5), "blocks": [np.int64(2)], "inner": {"size": np.uint8(3)}}
    )
    assert json.loads(json.dumps(settings.to_dict()["blocks"])) == [2]
    assert settings == Outer("a", 0.5, None, (2,), Inner(3))
    assert type(settings.share) is float
    assert type(settings.inner.size) is int


def every_class_of_settings(cls: type[Settings] = Settings) -> set[type[Settings]]:
    return {cls}.union(*map(every_class_of_settings, cls.__subclasses__()))


def test_every_number_stays_as_it_was_written_since_digests_depend_on_it():
    import_module("sdlstudy.configuration.whole")
    # classes that are written in the package: plugins' classes are made from theirs, and other tests define some
    classes_of_settings = every_class_of_settings()
    classes = [cls for cls in classes_of_settings if vars(sys.modules[cls.__module__]).get(cls.__qualname__) is cls]
    classes = [cls for cls in classes if cls.__module__.startswith("sdlcore.")]
    assert RunConfig in classes
    floats = 0
    for cls in classes:
        for name, field in cls.model_fields.items():
            for kind in (type_of(field), *get_args(field.annotation)):
                if getattr(kind, "__origin__", kind) is float:
                    floats += 1
                    assert AsGiven in getattr(kind, "__metadata__", ()), (cls, name)
    assert floats > 50
    assert type(RunConfig.from_dict({"lr": 1}).training.lr) is int


def test_settings_are_set_in_order_or_by_name():
    assert Outer("a", 0.25) == Outer(name="a", share=0.25) == Outer("a").changed(share=0.25)
