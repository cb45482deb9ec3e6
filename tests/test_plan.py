from pathlib import Path

import pytest

from sdlcore.plan import Need, describe, lines, need

CONFIG = {
    "seeds": [0, 1],
    "sources": {
        "bench": {"lrb": {"n_p": 100, "n_r": 50, "train_samples": 900, "test_samples": 100}},
        "clip": {
            "photos": {"n_p": 768, "store_dtype": "float16", "train_samples": None, "test_samples": 5},
            "few": {"train_samples": 5, "test_samples": 5},
        },
        "llama": {
            "large": {
                "n_p": 4096,
                "train_samples": 10**9,
                "test_samples": 10**6,
                "samples_per_second": 1e5,
            }
        },
    },
}


def test_a_bench_is_counted_for_each_seed():
    assert need(CONFIG, "lrb").bytes == 2 * 1000 * 150 * 4


def test_only_what_is_large_or_open_is_told(tmp_path):
    told = lines(CONFIG, ["lrb", "photos", "few", "large"], tmp_path / "results" / "not there yet")
    assert [line.split(":")[0] for line in told] == ["activations of photos", "activations of large"]
    assert "1.54 kB a sample, as many as there are" in told[0]
    assert "8,200 GB, which does not fit" in told[1]
    assert "about 2.8 hours" in told[1]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Need("s", 10, 10**9, 60.0), "10 GB; 20 GB are free; about 1 minutes"),
        (Need("s", 30, 10**9, None), "30 GB, which does not fit; 20 GB are free; time unknown"),
        (Need("s", 10, None, None), "size unknown until the model is there"),
    ],
)
def test_a_line_says_size_room_and_time(found, expected):
    assert expected in describe(found, 20 * 10**9)


def test_free_disk_is_that_of_the_nearest_folder_that_exists():
    assert lines(CONFIG, ["large"], Path("/nowhere/at/all"))
