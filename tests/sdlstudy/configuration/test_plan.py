from pathlib import Path

import pytest

from sdlstudy.configuration.loading import validate
from sdlstudy.configuration.plan import Need, describe, lines, need

CLIP = {"images": "photos", "test_images": "others", "model": "ViT-B-32", "pretrained": "weights.pt"}
LLAMA = {"model": "models/llama", "text": "texts", "n_p": 4096}
GIVEN = {
    "name": "planned",
    "seeds": [0, 1],
    "sources": {
        "bench": {"lrb": {"n_p": 100, "n_r": 50, "train_samples": 900, "test_samples": 100}},
        "clip": {
            "photos": CLIP | {"n_p": 768, "store_dtype": "float16", "train_samples": None, "test_samples": 5},
            "few": CLIP | {"train_samples": 5, "test_samples": 5},
        },
        "language": {
            "large": LLAMA | {"train_samples": 10**9, "test_samples": 10**6, "samples_per_second": 1e5},
            "streamed": {
                **(LLAMA | {"train_samples": 1, "test_samples": 10**3, "stream": True}),
                "run": {"steps": 10**5, "batch_size": 10**3},
            },
        },
    },
    "methods": {"topk": {"activation": "topk", "k": 4}},
    "protocols": {"best": {"run": {"batch_size": 100}}},
}
CONFIG = validate(GIVEN)


def test_a_bench_is_counted_for_each_seed():
    assert need(CONFIG, "lrb").bytes == 2 * 1000 * 150 * 4


def test_every_site_of_a_language_model_is_counted():
    three = LLAMA | {"layers": [1, 2, 3], "train_samples": 90, "test_samples": 10}
    config = validate(GIVEN | {"sources": {"language": {"three": three}}})
    assert need(config, "three").bytes == 100 * 3 * 4096 * 2
    assert config.source("three").described == "activations of models/llama over texts, layers 1, 2, 3"


def test_only_large_sources_and_those_of_unknown_size_are_described(tmp_path):
    sources = ["lrb", "photos", "few", "large", "streamed"]
    descriptions = lines(CONFIG, sources, tmp_path / "results" / "not there yet", {"large": 9000}.get)
    assert [line.split(":")[0].split()[-1] for line in descriptions] == ["photos", "large", "streamed"]
    assert "1.54 kB a sample, number of samples unknown" in descriptions[0]
    assert "8,200 GB, which does not fit" in descriptions[1]
    assert "9 GB of memory a job; about 2.8 hours at 100,000 samples a second" in descriptions[1]
    assert "each training streams 100,000,000 samples, 819.2 GB if it stored them" in descriptions[2]


def test_a_bench_is_counted_for_the_seeds_that_ask_for_it():
    table = {"source": "lrb", "methods": ["topk"], "seeds": [1]}
    assert need(validate(GIVEN | {"tables": {"table4": table}}), "lrb").bytes == 1000 * 150 * 4


def test_sources_that_are_large_together_share_one_line(tmp_path):
    bench = GIVEN["sources"]["bench"]["lrb"] | {"train_samples": 10**6}
    points = {f"lrb_n_{n}": bench for n in range(3)}  # 600 MB each for one seed
    config = validate(GIVEN | {"seeds": [0], "sources": {"bench": points}})
    (line,) = lines(config, points, tmp_path)
    assert line.startswith("activations of 3 smaller sources: 1.8")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (Need("s", 10, 10**9, 0.1), "10 GB; 20 GB are free; about 2 minutes at 0.1 samples a second"),
        (Need("s", 30, 10**9, memory=5), "30 GB, which does not fit; 20 GB are free; 0.005 GB of memory a job; time"),
        (Need("s", 10, None), "size unknown until the model exists"),
        (Need("s", 10, 10**9, 1.0, parts=4, memory=8000), "8 GB of memory a job; about a minute at 1 samples a second"),
        (
            Need("s", 10, 10**9, 0.01, streamed=10**4),
            "10 GB for evaluation; 20 GB are free; each training streams 10,000 samples, 10,000 GB if it stored them; "
            "about 12 days at 0.01 samples a second",
        ),
    ],
)
def test_a_line_says_size_room_and_time(size, expected):
    assert expected in describe(size, 20 * 10**9)


def test_free_disk_is_that_of_the_nearest_folder_that_exists():
    assert lines(CONFIG, ["large"], Path("/nowhere/at/all"))
