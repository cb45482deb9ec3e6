"""The paper's numbers, read from its tables in the repository."""

from sdlstudy.verdicts.paper import KEY, bench_setting, describe
from sdlstudy.verdicts.readings import JUDGED, stated
from tests.sdlstudy.verdicts.synthetic import PAPER, papers_numbers


def test_the_paper_has_220_numbers():
    numbers = papers_numbers()
    assert len(numbers) == 220
    assert numbers.groupby("table").size().to_dict() == {
        **{"table1": 42, "table2": 18, "table4": 28},
        **{"table5": 60, "table6": 60, "table7": 12},
    }
    assert not numbers.duplicated(KEY).any()
    assert numbers["paper"].notna().all()


def test_every_cell_of_every_file_is_one_of_them():
    for table, path in PAPER.items():
        lines = path.read_text().splitlines()
        columns = lines[0].split(",")
        cells = sum(columns.count(name) for name in ("gt_recovery_percent", "mip", "l0")) * (len(lines) - 1)
        assert (papers_numbers()["table"] == table).sum() == cells


def test_rows_of_table_6_have_the_probability_that_a_feature_is_inactive():
    numbers = papers_numbers().query("table == 'table6'")
    assert set(numbers["value"]) == {0.995, 0.99, 0.9}
    topk = numbers.query("method == 'TopK SAE' and number == 'gt_recovery_percent' and anchoring == 'none'")
    assert dict(zip(topk["value"], topk["paper"], strict=True)) == {0.995: 82.2, 0.99: 84.9, 0.9: 98.8}


def test_rows_of_several_tables_that_are_the_same_runs_have_the_same_setting():
    numbers = papers_numbers().query("number == 'mip' and anchoring == 'none'")
    same: dict = {}
    for _, row in numbers.iterrows():
        same.setdefault(bench_setting(row, stated(row["table"])[JUDGED]), []).append(describe(row))
    same.pop(None)
    assert [group for group in same.values() if len(group) > 1] == [
        [
            "Table 1, ReLU SAE, without anchors",
            "Table 4, ReLU SAE, without anchors, n = 1000",
            "Table 6, ReLU SAE, without anchors, S = 0.99",
        ],
        ["Table 1, JumpReLU SAE, without anchors", "Table 6, JumpReLU SAE, without anchors, S = 0.99"],
        [
            "Table 1, TopK SAE, without anchors",
            "Table 6, TopK SAE, without anchors, S = 0.99",
            "Table 7, TopK SAE, without anchors, k = 64",
        ],
        ["Table 1, BatchTopK SAE, without anchors", "Table 6, BatchTopK SAE, without anchors, S = 0.99"],
        ["Table 1, Matryoshka SAE, without anchors", "Table 6, Matryoshka SAE, without anchors, S = 0.99"],
    ]


def test_anchored_rows_of_tables_with_other_anchors_are_other_settings():
    anchored = papers_numbers().query("method == 'TopK SAE' and anchoring == 'anchored' and number == 'mip'")
    one, six = (anchored.query(query).iloc[0] for query in ("table == 'table1'", "table == 'table6' and value == 0.99"))
    texts = {row["table"]: stated(row["table"])[JUDGED] for row in (one, six)}
    assert bench_setting(one, texts["table1"]) != bench_setting(six, texts["table6"])
    assert bench_setting(one, texts["table1"]) == bench_setting(six, texts["table1"])
    embeddings = papers_numbers().query("table == 'table2'").iloc[0]
    assert bench_setting(embeddings, stated("table2")[JUDGED]) is None
