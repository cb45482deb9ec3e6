"""The figure of the search for the paper's protocol, made from files on disk."""

from itertools import product

import pandas as pd
import pytest

from sdlcore.study.explain.looks import ABOVE, THRESHOLDS
from sdlcore.study.explain.protocols import TABLES, draw, write_protocols
from sdlcore.study.results.tables import read_paper
from tests.study.products import made

SIDES = [f"{side}_{similarity}" for side, similarity in product(("encoder", "decoder"), ("cosine", "inner"))]


def write_looks(path, numbers, rows, recovery):
    values = {f"l0_{above:g}": 13.5 for above in ABOVE} | {"fvu": 0.1}
    found = []
    for number, row in product(numbers, rows):
        near = {f"{side}_{tau:g}": recovery[number] for side in SIDES for tau in THRESHOLDS}
        near |= {f"{side}_mip": 0.983 for side in SIDES}
        place = {"method": row.removesuffix("+"), "anchored": row.endswith("+"), "value": None, "seed": 0, "step": 40}
        found.append({"number": number, **place, **values, **near})
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(found).to_csv(path, index=False)


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = draw(10, 0)
    write_protocols(tmp_path / "first.csv", drawn)
    write_protocols(tmp_path / "second.csv", [drawn[9], drawn[2]])
    stages = {
        "first": {"protocols": "first.csv", "rows": ["topk"]},
        "second": {"protocols": "second.csv", "rows": ["relu"], "joined": "first"},
    }
    return made.alone({"explain": {"stages": stages}})


def test_stages_are_made_of_jobs_of_eight_protocols(config):
    stage = config.explain.stages["first"]
    assert [stage.numbers(first) for first in (0, 8)] == [list(range(8)), [8, 9]]
    assert config.explain.inputs("explain", config.files())[:3] == [
        f"results/{config.name}/looks/{place}.csv" for place in ("first/0", "first/8", "second/0")
    ]


@pytest.mark.slow
def test_a_joined_stage_counts_the_rows_of_the_one_before_protocol_by_protocol(config, tmp_path):
    folder = tmp_path / f"results/{config.name}/looks"
    recovery = {number: 0.849 - 0.02 * (9 - number) for number in range(10)}
    write_looks(folder / "first/0.csv", range(8), ["topk"], recovery)
    write_looks(folder / "first/8.csv", [8, 9], ["topk"], recovery)
    write_looks(folder / "second/0.csv", [0, 1], ["relu"], {0: 0.0, 1: 0.0})
    rows = made.pictured(tmp_path, made.make(config, "explain", tmp_path), "explain", width=900)
    first, second = (rows[rows["stage"] == name] for name in ("first", "second"))
    # runs with more recovery are nearer
    assert first["distance"].is_monotonic_increasing
    assert len(first) == 10
    assert (first["numbers"] == 3).all()
    assert second["numbers"].tolist() == [6, 6]


def test_what_a_stage_cannot_be_is_refused(config, tmp_path):
    explain = config.explain
    unread = explain.model_copy(
        update={"stages": {"first": explain.stages["first"].model_copy(update={"protocols": "x"})}}
    )
    assert "stages.first.protocols" in next(unread.unsound("explain", config))
    apart = {**explain.stages, "second": explain.stages["second"].model_copy(update={"scale": "full"})}
    wrong = list(explain.model_copy(update={"stages": apart}).unknown_names("explain", config))
    assert len(wrong) == 1
    assert "joined" in wrong[0]
    circle = {
        name: stage.model_copy(update={"joined": None, "fixed": other})
        for (name, stage), other in zip(explain.stages.items(), ("second", "first"), strict=True)
    }
    wrong = list(explain.model_copy(update={"stages": circle}).unknown_names("explain", config))
    assert wrong == ["explain.stages: first, second wait for each other; a stage can name only earlier ones"]


def test_a_stage_may_name_one_that_comes_later_in_the_alphabet(config):
    stages = {
        "a": config.explain.stages["second"].model_copy(update={"joined": "b"}),
        "b": config.explain.stages["first"],
    }
    assert config.explain.model_copy(update={"stages": stages}).ordered() == ["b", "a"]


def test_a_stage_on_another_table_has_its_rows_and_values_but_those_that_repeat_table_1(config):
    stage, files = config.explain.stages["first"], config.files(made.PAPER)
    everything = {name: stage.model_copy(update={"table": name, "rows": None}).of_table(files) for name in TABLES}
    assert len(everything["table1"][0]) == 14
    assert everything["table1"][1] == []
    numbers = sum(2 * len(rows) * len(values) for rows, values in everything.values())
    assert numbers == 140
    assert everything["table6"][1] == [0.005, 0.1]
    assert everything["table7"] == (["topk", "topk+"], [32.0, 64.0, 128.0])


@pytest.mark.slow
def test_a_fixed_stage_takes_step_and_reading_of_the_nearest_before(config, tmp_path):
    folder = tmp_path / f"results/{config.name}/looks"
    tested = config.explain.stages["second"].model_copy(update={"joined": None, "rows": ["topk"], "fixed": "first"})
    stages = {**config.explain.stages, "second": tested}
    config = config.model_copy(update={"explain": config.explain.model_copy(update={"stages": stages})})
    write_looks(folder / "first/0.csv", range(8), ["topk"], dict.fromkeys(range(8), 0.849))
    write_looks(folder / "first/8.csv", [8, 9], ["topk"], {8: 0.1, 9: 0.1})
    write_looks(folder / "second/0.csv", [0, 1], ["topk"], {0: 0.5, 1: 0.6})
    rows = made.pictured(tmp_path, made.make(config, "explain", tmp_path), "explain", width=900)
    best, second = rows.iloc[0], rows[rows["stage"] == "second"]
    for name in ("recovery_of", "mip_of", "tau", "side", "above", "step"):
        assert (second[name] == best[name]).all()


def test_the_nearest_protocol_of_a_stage_is_written_as_the_papers_table_is(config, tmp_path):
    stages = {"first": config.explain.stages["first"]}
    config = config.model_copy(
        update={"explain": config.explain.model_copy(update={"stages": stages, "shown": "first"})}
    )
    recovery = {number: 0.5 + 0.01 * number for number in range(10)}
    for first, numbers in ((0, range(8)), (8, [8, 9])):
        write_looks(tmp_path / f"results/{config.name}/looks/first/{first}.csv", numbers, ["topk"], recovery)
    written = made.make(config, "explain", tmp_path)
    best = made.pictured(tmp_path, written, "explain", width=900).iloc[0]
    found = read_paper(tmp_path / config.files().table("explain_nearest"))
    assert found[["method", "anchoring"]].values.tolist() == [["TopK SAE", "none"]]
    assert found["gt_recovery_percent"].item() == pytest.approx(100 * recovery[best["number"]])
    assert found["l0"].item() == pytest.approx(54.0)

    unknown = config.explain.model_copy(update={"shown": "second"})
    assert "explain.shown" in next(unknown.unknown_names("explain", config))
