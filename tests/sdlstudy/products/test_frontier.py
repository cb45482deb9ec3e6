"""The figure of the limits of methods, made from files on disk."""

from tests.sdlstudy.products import studies
from tests.sdlstudy.products.test_bench_tables import write_run

FRONTIER = {
    "source": "lrb",
    "methods": ["acs", "topk"],
    "panels": {"n": {"values": [100, 120]}, "noise": {"values": [0.0, 0.5], "methods": ["acs"]}},
    "seeds": [0, 3],
}


def test_it_has_a_row_a_run_at_each_point(tmp_path):
    config = studies.alone({"frontier": FRONTIER})
    for cell in config.frontier.cells(config):
        write_run(tmp_path, config.files(), cell)
    rows = studies.pictured(tmp_path, studies.make(config, "frontier", tmp_path), "frontier", width=900)
    assert rows[["parameter", "value", "source", "solver", "seed"]].to_numpy().tolist() == [
        [parameter, value, source, method, seed]
        for parameter, value, source, methods in (
            ("n", 100, "lrb_n_100", ("acs", "topk")),
            ("n", 120, "lrb_n_120", ("acs", "topk")),
            ("noise", 0, "lrb", ("acs",)),
            ("noise", 0.5, "lrb_noise_0_5", ("acs",)),
        )
        for method in methods
        for seed in (0, 3)
    ]
    assert rows["n"].tolist() == [100] * 4 + [120] * 4 + [128] * 4
    assert rows["samples_taken"].tolist() == [40, 40, 500, 500] * 2 + [40] * 4


def test_a_run_at_several_points_counts_once():
    panels = {"n": {"values": [128]}, "noise": {"values": [0.0]}}
    config = studies.alone({"frontier": FRONTIER | {"panels": panels}})
    frontier = config.frontier
    assert len(frontier.runs(config)) == 8
    assert len(frontier.cells(config)) == 4
    assert len(config.products()["frontier"].inputs(config.files())) == 4 * 3
    assert {point.source for point in frontier.points(config)} == {"lrb"}
