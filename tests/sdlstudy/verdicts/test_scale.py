"""Runs at the paper's scale, recognised from validated configurations."""

from copy import deepcopy
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlstudy.settings.cells import Cell, run_settings
from sdlstudy.settings.sources import Hierarchy
from sdlstudy.verdicts.readings import JUDGED, stated
from sdlstudy.verdicts.scale import SWEPT, differences, figure6_differences
from tests.sdlstudy.verdicts.synthetic import configuration, papers_configuration, resampling, with_setting


def differences_of(config, table, cell, swept=None):
    """Return the differences between a run and its row, under the reading by which its table is judged."""
    reading = stated(table)[JUDGED]
    k = None if cell.method in ("relu", "jumprelu") or table == "table7" else reading.k
    settings = run_settings(config, cell).to_dict()
    return differences(config, table, cell, settings, swept or {}, reading.n_anchors, k)


def run(source="lrb", method="topk", protocol="paper", anchoring="none"):
    return Cell(source, method, protocol, anchoring, 0)


def runs_of(config, table):
    spec = config.tables[table]
    return [run(spec.source, *picked) for picked in product(spec.methods, spec.protocols, spec.anchorings)]


def changed(*path, value):
    return with_setting(papers_configuration(), *path, value=value)


def of_figure6(config):
    return figure6_differences(config, resampling(config))


@pytest.mark.parametrize("protocol", ["paper", "best"])
def test_every_run_of_the_papers_configuration_is_at_its_scale(protocol):
    config = papers_configuration()
    for table in ("table1", "table2"):
        for cell in runs_of(config, table):
            assert differences_of(config, table, replace(cell, protocol=protocol)) == [], (table, cell)
    assert of_figure6(config) == []


@pytest.mark.parametrize("table", ["table4", "table5", "table6", "table7"])
def test_every_run_of_the_papers_sweeps_is_at_the_scale_of_its_row(table):
    config = configuration("paper")
    spec = config.tables[table]
    for point in spec.points(config):
        for method, protocol, anchoring in product(spec.methods, spec.protocols, spec.anchorings):
            cell = run(point.source, point.methods[method], protocol, anchoring)
            assert differences_of(config, table, cell, {SWEPT[table]: point.value}) == [], point


@pytest.mark.parametrize("name", ["", "tiny"])
def test_no_run_of_a_smaller_configuration_is(name):
    config = configuration(*([name] if name else []))
    for table in {"table1", "table2"} & config.tables.keys():
        for cell in runs_of(config, table):
            lines = differences_of(config, table, cell)
            assert lines
            assert all("paper's" in text for text in lines)
    assert of_figure6(config)


def test_the_default_says_what_it_has():
    lines = differences_of(configuration(), "table1", run(anchoring="ground_truth"))
    assert lines == [
        *("n_q is 2048, the paper's 16000", "n_p is 96, the paper's 768", "N is 20000, the paper's 100000"),
        *("n is 128, the paper's 1000", "M is 0.2, the paper's 0.1", "S is 0.97, the paper's 0.99"),
        *("k is 16, the paper's 64", "n_anchors is 13, the paper's 30"),
    ]


BENCH = ("sources", "bench", "lrb")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed_leak", True),
        ("noise", 0.5),
        ("correlation", 0.3),
        ("frequency_exponent", 1.0),
        ("hierarchy", {"parents": 8, "children": 4}),
    ],
)
def test_a_bench_with_an_option_that_the_papers_has_not_is_not_at_its_scale(name, value):
    config = changed(*BENCH, name, value=Hierarchy(**value) if name == "hierarchy" else value)
    assert differences_of(config, "table1", run()) == [f"{name} is {value}, the paper's bench has none"]


@pytest.mark.parametrize(
    ("path", "value", "difference"),
    [
        ((*BENCH, "n"), 999, "n is 999, the paper's 1000"),
        ((*BENCH, "n_p"), 767, "n_p is 767, the paper's 768"),
        ((*BENCH, "train_samples"), 99_999, "N is 99999, the paper's 100000"),
        ((*BENCH, "sparsity"), 0.98, "S is 0.98, the paper's 0.99"),
        ((*BENCH, "max_interference"), 0.2, "M is 0.2, the paper's 0.1"),
        ((*BENCH, "run", "n_q"), 8000, "n_q is 8000, the paper's 16000"),
        (("methods", "topk", "k"), 32, "k is 32, the paper's 64"),
        (("anchorings", "ground_truth_30", "n_anchors"), 50, "n_anchors is 50, the paper's 30"),
        (("anchorings", "ground_truth_30", "lambda_anchor"), 1.0, "lambda_anchor is 1, the paper's 0.1"),
        (("anchorings", "ground_truth_30", "anchor_form"), "cosine", "anchors hold by another rule than eq. (25)"),
    ],
)
def test_one_setting_is_enough(path, value, difference):
    assert differences_of(changed(*path, value=value), "table1", run(anchoring="ground_truth_30")) == [difference]


def test_settings_that_a_run_does_not_use_do_not_count():
    assert differences_of(changed(*BENCH, "n_r", value=None), "table1", run()) == []
    config = changed(*BENCH, "n_r", value=700)
    assert differences_of(config, "table1", run(method="crosscoder")) == ["n_r is 700, the paper's 768"]
    assert differences_of(changed("anchorings", "ground_truth_30", "n_anchors", value=50), "table1", run()) == []
    assert differences_of(changed("methods", "topk", "k", value=32), "table1", run(method="relu")) == []
    assert differences_of(changed("methods", "topk", "steps", value=1), "table1", run()) == []


@given(st.sampled_from(["n", "max_interference", "sparsity"]), st.sampled_from([900, 0.2, 0.9]))
def test_what_a_table_varies_must_be_what_its_row_has(parameter, value):
    config = changed(*BENCH, parameter, value=value)
    assert differences_of(config, "table4", run(), {parameter: value}) == []
    assert differences_of(config, "table4", run(), {parameter: value / 2})
    assert differences_of(config, "table4", run())


def test_k_is_of_the_run():
    config = papers_configuration()
    assert differences_of(config, "table7", run(method="topk_k_32"), {"k": 32.0}) == []
    assert differences_of(config, "table7", run(), {"k": 32.0}) == ["k is 64, the paper's 32"]


CLIP = ("sources", "clip", "imagenet_clip")


@pytest.mark.parametrize(
    ("path", "value", "difference"),
    [
        ((*CLIP, "images"), "fashion_mnist", "images are fashion_mnist, the paper's ImageNet-1K"),
        ((*CLIP, "pretrained"), "laion2b", "the CLIP is ViT-B-32-quickgelu (laion2b), the paper's ViT-B/32 of OpenAI"),
        ((*CLIP, "embedding"), "joint", "embedding is joint, the paper's is 768 wide, so pooled"),
        ((*CLIP, "train_samples"), 5000, "train_samples"),
        ((*CLIP, "run", "n_q"), 8192, "n_q is 8192, the paper's 16384"),
        (("anchorings", "class_means", "n_anchors"), 10, "n_anchors is 10, the paper's 30"),
    ],
)
def test_table_2_needs_the_papers_embeddings(path, value, difference):
    config = changed(*path, value=value)
    (line,) = differences_of(config, "table2", run("imagenet_clip", anchoring="class_means"))
    assert line.startswith(difference.replace("train_samples", "N is 5000"))


def test_another_kind_of_source_is_no_scale_at_all():
    config = papers_configuration()
    assert differences_of(config, "table2", run()) == ["lrb is a source of kind bench, the paper's is clip"]
    assert "kind clip" in differences_of(config, "table1", run("imagenet_clip"))[0]
    assert "kind bench" in of_figure6(changed("figures", "figure6", "source", value="lrb"))[0]


@pytest.mark.parametrize(
    ("path", "value", "difference"),
    [
        (("sources", "language", "llama", "model"), "a/b", "model is a/b"),
        (("sources", "language", "llama", "text"), "mine.txt", "text is mine.txt, the paper's FineWeb-Edu"),
        (("sources", "language", "llama", "layer"), 11, "layer is 11"),
        (("sources", "language", "llama", "run", "steps"), 10, "steps is 10"),
        (("methods", "topk_real_resampled", "resample_every"), 100, "resample_every is 100, the paper's 5000"),
    ],
)
def test_figure_6_needs_the_papers_language_model(path, value, difference):
    (line,) = of_figure6(changed(*path, value=value))
    assert line.startswith(difference)


def test_configurations_are_not_changed():
    config = papers_configuration()
    before = deepcopy(config)
    differences_of(config, "table1", run(anchoring="ground_truth_30"))
    of_figure6(config)
    assert config == before
