"""Embeddings of a tiny CLIP with random weights, compared with open_clip's own intermediate results."""

import csv
import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import ViTConfig, ViTImageProcessorFast, ViTModel

from sdlcore.data.reading import ActivationStore
from sdlcore.data.shards import unite
from sdlcore.data.writing import ResumableWriter
from sdlcore.errors import SourceError
from sdlcore.extraction import filling
from sdlcore.extraction.clip import remove_projection, write_image_stores
from sdlcore.extraction.config import ClipSource
from sdlcore.extraction.models import load_clip
from tests.conftest import REPOSITORY
from tests.extraction.conftest import DAMAGED, ClipFiles, picture

NAMES = ("train.h5", "test.h5", "skipped.csv")


def run(folder: Path, files: ClipFiles, out: Path, test_folder: Path | None = None, **changes: Any) -> None:
    settings = {"test_samples": 3} | changes
    options = {"workers": settings.pop("workers", 0)}
    source = ClipSource("images", files.architecture, files.weights, **settings)
    stores = {"train": out / "train.h5", "test": out / "test.h5"}
    write_image_stores(source, folder, test_folder, stores, out / "skipped.csv", **options)


def read(path: Path) -> dict[str, Any]:
    with ActivationStore(path) as store:
        columns = {name: store.read(name) for name in store.columns()}
        return columns | {"names": store.class_names(), "provenance": store.provenance}


def contents(out: Path) -> list[Any]:
    """Return the results that must be equal in two runs, to the bit."""
    return [{key: np.asarray(value).tolist() for key, value in read(out / name).items()} for name in NAMES[:2]]


def by_hand(folder: Path, files: ClipFiles, paths: list[str]) -> tuple[Any, Any]:
    """Return ln_post's output for the class token, from a hook in a whole pass, and the joint embedding."""
    name = Path(files.architecture).stem
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=files.weights)
    model.eval()
    hooked = []
    model.visual.ln_post.register_forward_hook(lambda _module, _inputs, output: hooked.append(output))
    images = torch.stack([preprocess(Image.open(folder / path)) for path in paths])
    with torch.no_grad():
        joint = model.encode_image(images)
    pooled = hooked[0][:, 0] if hooked[0].ndim == 3 else hooked[0]
    torch.testing.assert_close(pooled @ model.visual.proj.detach(), joint)
    return pooled.numpy(), joint.numpy()


@pytest.mark.parametrize("embedding", ["pooled", "joint"])
def test_rows_are_the_librarys_embeddings(embedding: str, folder: Path, clip_files: ClipFiles, tmp_path: Path):
    run(folder, clip_files, tmp_path, embedding=embedding, store_dtype="float32", batch_size=4)
    for part, rows in (("train", 6), ("test", 3)):
        columns = read(tmp_path / f"{part}.h5")
        pooled, joint = by_hand(folder, clip_files, list(columns["references/path"]))
        expected = pooled if embedding == "pooled" else joint
        assert columns["input"].shape == (rows, 24 if embedding == "pooled" else 8)
        np.testing.assert_allclose(columns["input"], expected, rtol=1e-5, atol=1e-5)
        assert columns["names"] == ["a cat", "an empty class", "dog", "zebra"]
        classes = ["a_cat", "an_empty_class", "dog", "zebra"]
        assert [classes[label] for label in columns["labels"]] == [p.split("/")[0] for p in columns["references/path"]]


def test_bfloat16_and_float16_cost_precision_and_nothing_else(folder: Path, clip_files: ClipFiles, tmp_path: Path):
    run(folder, clip_files, tmp_path, dtype="bfloat16", store_dtype="float16")
    columns = read(tmp_path / "train.h5")
    assert columns["input"].dtype == np.float16
    pooled, _ = by_hand(folder, clip_files, list(columns["references/path"]))
    error = np.linalg.norm(columns["input"].astype(float) - pooled, axis=1) / np.linalg.norm(pooled, axis=1)
    assert 1e-4 < error.max() < 0.03
    assert columns["provenance"]["precision"] == {"forward": "bfloat16", "stored": "float16"}


def test_every_image_is_in_one_store_in_an_order_that_stays(folder: Path, clip_files: ClipFiles, tmp_path: Path):
    run(folder, clip_files, tmp_path / "one", batch_size=4)
    run(folder, clip_files, tmp_path / "two", batch_size=4, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    paths = [path for name in NAMES[:2] for path in read(tmp_path / "one" / name)["references/path"]]
    assert len(set(paths)) == len(paths) == 9
    assert paths != sorted(paths)
    run(folder, clip_files, tmp_path / "less", batch_size=4, train_samples=4)
    less = [list(read(tmp_path / "less" / name)["references/path"]) for name in NAMES[:2]]
    assert less == [paths[:4], paths[6:]]


def test_a_separate_evaluation_folder_keeps_the_training_classes(folder: Path, clip_files: ClipFiles, tmp_path: Path):
    for name in ("zebra", "dog"):  # a class less, so that counting them anew would go wrong
        (tmp_path / "test" / name).mkdir(parents=True)
        picture(name, "test").save(tmp_path / f"test/{name}/0.png")
    run(folder, clip_files, tmp_path, tmp_path / "test", test_samples=None)
    columns = read(tmp_path / "test.h5")
    assert dict(zip(columns["references/path"], columns["labels"], strict=True)) == {"dog/0.png": 2, "zebra/0.png": 3}
    assert columns["names"] == read(tmp_path / "train.h5")["names"]
    assert len(read(tmp_path / "train.h5")["input"]) == 9
    (tmp_path / "test/yak").mkdir()
    with pytest.raises(SourceError, match="class folder yak is missing in"):
        run(folder, clip_files, tmp_path, tmp_path / "test", test_samples=None)


@pytest.mark.slow
def test_a_damaged_folder_gives_a_complete_store_and_a_list(damaged: Path, clip_files: ClipFiles, tmp_path: Path):
    source = {
        **{"images": "damaged", "model": clip_files.architecture, "pretrained": clip_files.weights, "test_samples": 4},
        **{"batch_size": 4, "max_unreadable": 0.5},
    }
    command = [sys.executable, str(REPOSITORY / "workflow/scripts/clip_activations.py"), "--source", json.dumps(source)]
    command += ["--model", clip_files.architecture, "--pretrained", clip_files.weights, "--images", str(damaged)]
    command += ["--workers", "2", "--stores", "train.h5", "test.h5", "--skipped", "skipped.csv"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stores = {part: read(tmp_path / f"{part}.h5") for part in ("train", "test")}
    paths = [path for store in stores.values() for path in store["references/path"]]
    assert len(paths) == len(set(paths)) == 9
    assert "a_cat/one pixel.png" in paths
    with (tmp_path / "skipped.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == DAMAGED.keys()
    for row in rows:
        assert row["reason"].startswith(DAMAGED[row["path"]])
        assert {"path": row["path"], "reason": row["reason"]} in stores[row["split"]]["provenance"]["skipped"]
        assert f"{damaged}: skipped {row['path']}: " in done.stderr


def test_above_the_limit_it_fails_with_count_and_names(damaged: Path, clip_files: ClipFiles, tmp_path: Path):
    others = shutil.copytree(damaged, tmp_path / "others", symlinks=True)
    with pytest.raises(SourceError) as error:
        run(damaged, clip_files, tmp_path, others, test_samples=None, max_unreadable=0.2)
    assert str(error.value).startswith(f"{damaged}: 3 of 12 images could not be read, more than ")
    assert "max_unreadable (0.2) allows" in str(error.value)
    assert "a_cat/words.jpg (UnidentifiedImageError" in str(error.value)
    assert not any((tmp_path / name).exists() for name in NAMES)
    run(damaged, clip_files, tmp_path, others, test_samples=None, max_unreadable=0.25)
    assert len(read(tmp_path / "test.h5")["input"]) == 9


SETTINGS = {"batch_size": 2, "test_samples": 4, "max_unreadable": 0.5}


def test_a_killed_run_resumes_with_the_same_stores(damaged, clip_files, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(filling, "COMMIT_BATCHES", 2)
    run(damaged, clip_files, tmp_path / "whole", **SETTINGS)
    append, left = ResumableWriter.append, iter(range(4))

    def killed(*block: Any, **columns: Any) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        append(*block, **columns)

    with monkeypatch.context() as patch:
        patch.setattr(ResumableWriter, "append", killed)
        arguments = (damaged, clip_files, tmp_path / "cut")
        process = multiprocessing.get_context("fork").Process(target=run, args=arguments, kwargs=SETTINGS)
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not any((tmp_path / "cut" / name).exists() for name in NAMES)
    with caplog.at_level(logging.INFO):
        run(damaged, clip_files, tmp_path / "cut", **SETTINGS)
    assert "resuming from row" in caplog.text
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert (tmp_path / "cut/skipped.csv").read_text() == (tmp_path / "whole/skipped.csv").read_text()


def test_a_higher_limit_goes_on_from_where_the_lower_one_was_passed(damaged, clip_files, tmp_path, caplog):
    with pytest.raises(SourceError, match="raise max_unreadable"):
        run(damaged, clip_files, tmp_path, **SETTINGS | {"max_unreadable": 0})
    with caplog.at_level(logging.INFO):
        run(damaged, clip_files, tmp_path, **SETTINGS)
    assert "train.h5: resuming from row 6" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


QUICK = (
    "openai was trained with quick_gelu True, but model ViT-B-32 has False; set model to the architecture of the "
    "weights, whose name ends in -quickgelu"
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-33", "openai", "model ViT-B-33 is unknown to open_clip; did you mean ViT-B-32"),
        ("ViT-B-32", "openia", "openia: not readable as weights of ViT-B-32 .*not a known tag or valid file path"),
        ("ViT-B-32", "openai", QUICK),
        (
            "ViT-B-32",
            "missing.safetensors",
            "missing.safetensors: not readable as weights of ViT-B-32 .*; without access to a hub, give",
        ),
        ("missing.json", "openai", "missing.json: not readable as an architecture in JSON"),
        ("some.json", "openai", r"some\.json: expected a JSON object with embed_dim, vision_cfg and text_cfg"),
        (
            "ARCHITECTURE",
            "other.safetensors",
            r"other.safetensors: not readable as weights of a-clip-for-tests \(RuntimeError",
        ),
    ],
)
def test_what_is_no_model_or_no_weights_of_it_is_refused(model, pretrained, message, clip_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("some.json").write_text('{"embed_dim": 8}')
    save_file({"visual.proj": torch.zeros(3, 3)}, "other.safetensors")
    with pytest.raises(SourceError, match=message):
        load_clip(model.replace("ARCHITECTURE", clip_files.architecture), pretrained)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_samples": None}, "has 9 images, but test_samples would hold out 0"),
        ({"test_samples": 9}, "has 9 images, but test_samples would hold out 9"),
        ({"train_samples": 7}, "has 6 images, but train_samples is 7"),
        (
            {"images": "nothing readable", "test_samples": 1, "max_unreadable": 1},
            "2 of 2 images could not be read",
        ),
    ],
)
def test_a_folder_with_too_few_images_is_refused(change, message, folder, clip_files, tmp_path):
    change = dict(change)
    if name := change.pop("images", None):
        folder = tmp_path / name
        (folder / "class").mkdir(parents=True)
        for index in range(3):
            (folder / f"class/{index}.jpg").touch()
    with pytest.raises(SourceError, match=message):
        run(folder, clip_files, tmp_path, **change)


def test_the_store_records_its_provenance(folder: Path, clip_files: ClipFiles, tmp_path: Path, caplog: Any):
    with caplog.at_level(logging.INFO):
        run(folder, clip_files, tmp_path)
    facts = read(tmp_path / "test.h5")["provenance"]
    assert facts["source"]["pretrained"] == clip_files.weights
    assert facts["architecture"]["vision_cfg"]["width"] == 24
    assert facts["image_folder"] == str(folder)
    assert facts["split"] == "test"
    assert facts["skipped"] == []
    assert facts["preprocessing"]["mean"] == pytest.approx([0.48145466, 0.4578275, 0.40821073])
    assert facts["versions"]["open_clip_torch"]
    assert "before the projection" in facts["input"]
    digests = {read(tmp_path / name)["provenance"]["weights_sha256"] for name in NAMES[:2]}
    assert len(digests) == 1


@pytest.mark.slow
def test_vit_b_32_is_768_wide_before_the_projection_and_512_after():
    """The paper's architecture, with random weights: the origin of n_p = 768."""
    model = open_clip.create_model("ViT-B-32-quickgelu").eval()
    image = torch.zeros(1, 3, 224, 224)
    with torch.no_grad():
        joint = model.visual(image)
        proj = model.visual.proj
        remove_projection(model.visual)
        pooled = model.visual(image)
    assert (pooled.shape, joint.shape) == ((1, 768), (1, 512))
    torch.testing.assert_close(pooled @ proj.detach(), joint)


def test_parts_of_a_store_are_together_the_whole(damaged: Path, clip_files: ClipFiles, tmp_path: Path):
    settings = {"batch_size": 2, "test_samples": 4, "max_unreadable": 1.0}
    run(damaged, clip_files, tmp_path / "whole", **settings)
    source = ClipSource(images=str(damaged), model="m", pretrained="p", **settings)
    where = {"model": clip_files.architecture, "pretrained": str(clip_files.weights)}
    skipped: list[str] = []
    for number in range(3):
        table = tmp_path / f"{number}.csv"
        store = {"train": tmp_path / f"{number}.h5"}
        write_image_stores(source, damaged, None, store, table, part=(number, 3), **where)
        skipped += table.read_text().splitlines()[1:]
    unite([tmp_path / f"{number}.h5" for number in range(3)], tmp_path / "train.h5", {})
    expected = [line for line in (tmp_path / "whole/skipped.csv").read_text().splitlines() if line.startswith("train")]
    assert skipped == expected
    with ActivationStore(tmp_path / "train.h5") as parts, ActivationStore(tmp_path / "whole/train.h5") as whole:
        assert parts.class_names() == whole.class_names()
        for column in ("labels", "references/path"):
            np.testing.assert_array_equal(parts.read(column), whole.read(column))
        np.testing.assert_allclose(parts.read("input"), whole.read("input"), rtol=1e-3, atol=1e-3)


def test_a_source_reads_patches_at_a_block_of_any_image_tower(folder: Path, clip_files: ClipFiles, tmp_path: Path):
    settings = {"at": "transformer.resblocks.0", "tokens": "patches", "store_dtype": "float32", "batch_size": 4}
    run(folder, clip_files, tmp_path, **settings)
    columns = read(tmp_path / "train.h5")
    assert columns["input"].shape == (6 * 4, 24)
    assert columns["references/patch"].tolist() == [0, 1, 2, 3] * 6
    model, _, preprocess = open_clip.create_model_and_transforms(
        Path(clip_files.architecture).stem, pretrained=clip_files.weights
    )
    hooked: list[torch.Tensor] = []
    model.eval().visual.transformer.resblocks[0].register_forward_hook(lambda *call: hooked.append(call[-1]))
    paths = list(dict.fromkeys(columns["references/path"]))
    with torch.no_grad():
        model.encode_image(torch.stack([preprocess(Image.open(folder / path).convert("RGB")) for path in paths[:4]]))
    np.testing.assert_array_equal(columns["input"][: 4 * 4], hooked[0][:, 1:].flatten(0, 1).numpy())
    classes = ["a_cat", "an_empty_class", "dog", "zebra"]
    labels = [classes[label] for label in columns["labels"]]
    assert labels == [path.split("/")[0] for path in columns["references/path"]]


def test_a_source_reads_a_model_of_transformers(folder: Path, tmp_path: Path):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    ViTModel(ViTConfig(**sizes, image_size=16, patch_size=8)).save_pretrained(tmp_path / "vit")
    ViTImageProcessorFast(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "vit")
    source = ClipSource(
        "images", f"transformers:{tmp_path / 'vit'}", "library", at="layers.1", tokens="cls", test_samples=3
    )
    write_image_stores(source, folder, None, {"train": tmp_path / "train.h5"}, tmp_path / "skipped.csv")
    columns = read(tmp_path / "train.h5")
    assert columns["input"].shape == (6, 16)
    assert "references/patch" not in columns
    with pytest.raises(SourceError, match="set at"):
        write_image_stores(source.changed(at=None), folder, None, {}, tmp_path / "skipped.csv")
