"""The base of settings: which values fit, what errors say, and what is read from JSON."""

import json
import math
import sys
from importlib import import_module
from typing import Annotated, Literal, get_args

import numpy as np
import pytest
from annotated_types import Ge, Lt

from sdlcore.config import Config
from sdlcore.settings import AsGiven, FromList, Settings, Text, checked, type_of


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
        ({}, "^name: Field required$"),
        ({"name": "a", "sides": 1}, r"^sides: unknown setting; did you mean side\?$"),
        (
            {"name": "", "share": 1},
            "^name: String should have .*, found ''; share: .* less than 1, found 1$",
        ),
        (
            {"name": "a", "side": "imput"},
            r"^side: .* 'input' or 'target', found 'imput'; did you mean input\?$",
        ),
        ({"name": "a", "blocks": [2, 0]}, r"^blocks\.1: Input should be greater than or equal to 1, found 0$"),
        ({"name": "a", "inner": {"size": np.int64(-3)}}, r"^inner\.size: .*, found -3$"),
    ],
)
def test_every_wrong_setting_is_named_by_its_path(settings, message):
    with pytest.raises(ValueError, match=message):
        Outer.from_dict(settings)


def test_no_setting_takes_a_number_that_is_not_finite():
    numbers = set()
    import_module("sdlstudy.configuration.whole")
    for cls in every_class_of_settings():
        for name, field in cls.model_fields.items() if cls.__module__.startswith("sdlcore.") else ():
            kinds = (field.annotation, *get_args(field.annotation))
            if {float, int} & {getattr(kind, "__origin__", kind) for kind in kinds}:
                numbers.add(name)
                for value in (math.nan, math.inf, -math.inf, np.float32("inf")):
                    with pytest.raises(ValueError, match=f"^{name}"):
                        checked(name, type_of(field), value)
    assert {"lr", "gradient_clip", "lambda_anchor", "ridge", "sparsity", "outlier_norm", "k"} <= numbers


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


OF_OTHERS = ("sdlcore.benches.saelens", "sdlcore.interop.saelens", "sdlcore.interop.dictionary_learning")
"""Modules that read files of other libraries, whose digests enter identities instead of their numbers."""


def test_every_number_stays_as_it_was_written_since_digests_depend_on_it():
    import_module("sdlstudy.configuration.whole")
    # classes that are written in the package: plugins' classes are made from theirs, and other tests define some
    classes_of_settings = every_class_of_settings()
    classes = [cls for cls in classes_of_settings if vars(sys.modules[cls.__module__]).get(cls.__qualname__) is cls]
    classes = [cls for cls in classes if cls.__module__.startswith("sdlcore.") and cls.__module__ not in OF_OTHERS]
    assert Config in classes
    floats = 0
    for cls in classes:
        for name, field in cls.model_fields.items():
            for kind in (type_of(field), *get_args(field.annotation)):
                if getattr(kind, "__origin__", kind) is float:
                    floats += 1
                    assert AsGiven in getattr(kind, "__metadata__", ()), (cls, name)
    assert floats > 50
    assert type(Config.from_dict({"lr": 1}).lr) is int
