"""The report, from the tables and pictures of products."""

import base64
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from PIL import Image

from sdlstudy.configuration.whole import Figures
from sdlstudy.rendering.labels import label_method
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.report.page import anchoring_sentence, effect_table, null_sentence, percent, report, table1_sentence
from sdlstudy.results.tables import read_csv
from sdlstudy.results.verdicts import judge
from tests.conftest import REPOSITORY
from tests.sdlstudy.products import studies

KEPT = REPOSITORY / "resources/kept"
NUMBERS = read_csv(REPOSITORY / "resources/paper/numbers.csv")
NULLS = ["random_samples", "random_directions", "topk_frozen_decoder", "topk_frozen_encoder"]


class Page(HTMLParser):
    """Reads a page; fails if a tag is closed by another."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.images, self.text = [], [], [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        self.images += [given["src"]] if "src" in given else []
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def frames():
    runs = read_csv(KEPT / "paper_table1_runs.csv")
    return {
        "table1": read_csv(KEPT / "paper_table1.csv"),
        "table1_effects": read_csv(KEPT / "paper_table1_effects.csv").assign(anchoring="ground_truth_30"),
        "table1_verdicts": judge("table1", NUMBERS, runs[runs["anchoring"] == "none"], studies.configuration()),
        "paper_table1_runs": runs,
        "numbers": NUMBERS,
    }


def test_the_page_has_three_sentences_a_picture_and_every_table_and_loads_nothing(frames):
    picture = io.BytesIO()
    Image.new("1", (400, 10)).save(picture, format="png")
    images = dict.fromkeys(["table1", "figure6"], picture.getvalue())
    text = report(studies.configuration(), frames, images)
    page = Page(text)
    header = text.partition("<header>")[2].partition("</header>")[0]
    assert header.count("<li>") == 3
    assert header.count("<img") == 1
    assert page.images[0] == f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
    assert text.count('width="200"') == 2, "half of 400 dots, since pictures have twice the dots of the page"
    assert [name for name in page.ids if name not in ("overview", "found")] == ["table1", "figure6", "reading", "made"]
    assert {link.removeprefix("#") for link in page.links} <= {*page.ids}
    assert not re.search(r"https?://|<script|@import|url\(", text)
    assert "JumpReLU SAE" in page.text
    assert "0.053 (0.033 to 0.073)" not in page.text


def test_effects_keep_the_order_of_their_table(frames):
    effects = frames["table1_effects"]
    shown = effect_table(effects).frame
    assert shown["Method"].unique().tolist() == effects["method"].map(label_method).unique().tolist()
    assert len(shown.columns) == 3 + effects["metric"].nunique()
    last = effects.iloc[-1]
    assert shown.iloc[-1, -1].startswith(f"{last['difference_mean']:+.3f} ({last['difference_low']:+.3f} to ")


def test_the_sentences_answer_the_three_questions(frames):
    verdicts = judge("table1", NUMBERS, frames["paper_table1_runs"])
    first = table1_sentence(verdicts, "stored runs")
    assert first.startswith("Table 1 of the paper is not reproduced by stored runs: by the paper's rule, encoder rows ")
    assert (
        "recover 0 to 19.1 % of the features (the paper: 0 to 84.9 %), and decoder columns recover 97.7 to 100 %"
        in first
    )
    assert table1_sentence(frames["table1_verdicts"], "this run") == ""
    assert "is reproduced by" in table1_sentence(verdicts.assign(inside=True), "x")
    assert "is reproduced in part" in table1_sentence(verdicts.assign(inside=verdicts["number"] == "l0"), "x")
    second = null_sentence(frames["table1"], NULLS)
    assert "the strongest null baseline (Random samples), which learns little or nothing, recovers 6" in second
    assert "points (3 seeds; " in anchoring_sentence(frames["table1_effects"])
    assert anchoring_sentence(None) == ""
    plain = pd.DataFrame({"method": ["x", "y"], "anchoring": "none", "fvu_mean": [0.25, 0.5]})
    assert null_sentence(plain, []).startswith("In this run, reconstructions leave 25 to 50 % of the held-out variance")


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (1, "100 %"), (0.0001, "under 0.1 %"), (0.9999, "over 99.9 %"), (0.1234, "12.3 %")]
)
def test_shares_are_rounded_and_only_exact_ones_are_0_and_100_percent(share, text):
    assert percent(share) == text


def test_a_product_without_files_has_no_section_and_names_are_escaped():
    config = studies.configuration().model_copy(update={"figures": Figures(), "tables": {}, "name": "<b>bold</b>"})
    text = report(config, {}, {})
    assert Page(text).ids == ["reading", "made"]
    assert "<b>bold" not in text


def test_names_in_tables_are_escaped_and_headings_are_grouped():
    frame = pd.DataFrame({"Method": ["<script>a</script>\r\x1b"], "MIP: paper": ["1"], "MIP: ours": ["2"]})
    html = TextTable("", frame, 1).html()
    assert "<script>" not in html
    assert not set("\r\x1b") & set(html)
    assert '<th colspan="2" halign="left">MIP</th>' in html
