"""Common properties of all products in the repository's configurations."""

import json
from functools import cache

import pytest

from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study
from tests.sdlstudy.products import studies

SHARED = {"name", "seeds", "sources", "methods", "protocols", "anchorings"}
CONFIGURATIONS = ("config", "paper", "studies/harder", "studies/judged", "tiny")


@cache
def configuration(name):
    return studies.configuration(None, *([] if name == "config" else [name]))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_product_is_the_same_for_the_part_of_the_study_that_it_uses(name):
    """The workflow passes a product its settings and its part of the study, as JSON."""
    config = configuration(name)
    whole = config.files()
    for product in config.products().values():
        part = Study.model_validate(json.loads(json.dumps(product.used(config).model_dump(include=SHARED))))
        again = type(product).model_validate(json.loads(json.dumps(product.model_dump()))).named(product.name)
        assert again.model_dump() == product.model_dump()
        files = Files(part, whole.divided_by)
        for paths in ("inputs", "outputs", "beside"):
            assert getattr(again, paths)(files) == getattr(product, paths)(whole), product.name
        assert again.cells(part) == product.cells(config)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_product_says_what_it_shows_and_writes_distinct_files(name):
    config, outputs = configuration(name), []
    for product in config.products().values():
        assert product.describe()
        paths = product.outputs(config.files())
        assert paths
        outputs += paths
    assert len(set(outputs)) == len(outputs)


def test_a_change_elsewhere_changes_nothing_that_a_product_hangs_on():
    config = configuration("config")
    changed = studies.configuration(
        {
            "sources": {"bench": {"lrb_hierarchy": {"sparsity": 0.9}}},
            "methods": {"topk_few": {"k": 3}},
            "protocols": {"best": {"methods": {"topk_few": {"lr": 0.5}}}},
            "anchorings": {"class_means": {"n_anchors": 20}},
        }
    )
    differ = {
        name
        for name, product in config.products().items()
        if product.used(config).model_dump(include=SHARED)
        != changed.products()[name].used(changed).model_dump(include=SHARED)
    }
    assert differ == {"harder", "table2", "figure9", "figure10", "anchoring_map"}
