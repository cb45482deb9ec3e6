"""sdl.extract on any module: rows are those of forward hooks written by hand, to the bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms
from transformers import (
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    GPT2Config,
    GPT2LMHeadModel,
    ViTConfig,
    ViTImageProcessorFast,
    ViTModel,
)

import sdlcore as sdl
from sdlcore.data.writing import ResumableWriter
from sdlcore.errors import SourceError
from sdlcore.extraction import filling
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.engine import prefix_of
from sdlcore.extraction.models import load_any, load_tokenizer
from tests.conftest import script
from tests.extraction.conftest import ClipFiles, picture
from tests.extraction.tiny_llama import SIZES, documents, save_tiny_gguf, save_tiny_llama

READING: dict[str, Any] = {"context_length": 16, "batch_size": 3, "device": "cpu", "progress": False}
QUIET: dict[str, Any] = {"progress": False, "store_dtype": "float32"}
TINY = {
    **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2},
    **{"image_size": 16, "patch_size": 8},
}
TRANSFORM = transforms.Compose([transforms.Resize((16, 16)), transforms.ToTensor()])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def lm(folder: Path) -> Any:
    return load_any(folder)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pictures of four formats, and a broken one."""
    root = tmp_path_factory.mktemp("images")
    for number, suffix in enumerate(("jpg", "gif", "tiff", "png", "jpg", "png", "webp")):
        picture("any", number).save(root / f"{number}.{suffix}")
    (root / "broken.jpg").write_text("words")
    return root


class OwnModel(nn.Module):
    """A model that no library knows."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Dropout(0.5))

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        return self.encoder(x if scale is None else x * scale)


def own_model() -> OwnModel:
    torch.manual_seed(0)
    return OwnModel()


def hooked(model: nn.Module, at: str, run: Callable[[], Any]) -> Tensor:
    """Return what a module of a model in evaluation mode gives, by a hook of our own."""
    seen: list[Tensor] = []
    module = model.get_submodule(at)
    hook = module.register_forward_hook(
        lambda *call: seen.append(call[-1][0] if isinstance(call[-1], tuple) else call[-1])
    )
    with torch.no_grad():
        run()
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("kind", ["tensors", "keywords", "tuples"])
def test_ready_inputs_of_an_own_module(kind: str, tmp_path: Path):
    model, x, scale = own_model().train(), torch.randn(10, 7, 6), torch.randn(10, 1, 1)
    parts = [(x[i : i + 4], scale[i : i + 4]) for i in (0, 4, 8)]
    inputs = {
        "tensors": [a for a, _ in parts],
        "keywords": [{"x": a, "scale": b} for a, b in parts],
        "tuples": parts,
    }[kind]
    with sdl.extract(model, inputs, at=["encoder.0", "encoder.2:input"], out=tmp_path / "a.h5", **QUIET) as store:
        scaled = x if kind == "tensors" else x * scale
        expected = hooked(model, "encoder.0", lambda: model(scaled))
        assert np.array_equal(store.read("input"), expected.flatten(0, 1).numpy())
        assert np.array_equal(store.read("target"), expected.relu().flatten(0, 1).numpy())
        assert store.read("item").tolist() == np.repeat(np.arange(10), 7).tolist()
        assert store.read("position").tolist() == list(range(7)) * 10
        sae = sdl.fit(store, pair="crosscoder", activation="topk", k=2, n_q=8, steps=3, batch_size=16, progress=False)
    assert sae.W_dec.shape == (8, 10)
    assert model.training


@pytest.mark.parametrize(("tokens", "row"), [("last", -1), ("cls", 0), ("mean", None)])
def test_one_row_of_each_input(tokens: Any, row: int | None, tmp_path: Path):
    model, x = own_model().eval(), torch.randn(4, 7, 6)
    with sdl.extract(model, [x], at="encoder.0", out=tmp_path / "a.h5", tokens=tokens, **QUIET) as store:
        expected = hooked(model, "encoder.0", lambda: model(x))
        assert np.array_equal(store.read("input"), (expected.mean(1) if row is None else expected[:, row]).numpy())


def test_a_map_of_a_convolution_has_a_row_for_each_place(tmp_path: Path):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 5, 2, stride=2), nn.ReLU()), torch.randn(2, 3, 8, 8)
    with sdl.extract(model, [x], at="0", out=tmp_path / "a.h5", tokens="patches", **QUIET) as store:
        assert np.array_equal(store.read("input"), model[0](x).detach().permute(0, 2, 3, 1).reshape(32, 5).numpy())
        assert store.read("patch").tolist() == list(range(16)) * 2


def vit() -> tuple[nn.Module, str, int]:
    return ViTModel(ViTConfig(**TINY)), "layers.1", 1


def clip_vision() -> tuple[nn.Module, str, int]:
    return CLIPVisionModel(CLIPVisionConfig(**TINY)), "encoder.layers.1", 1


def dinov2() -> tuple[nn.Module, str, int]:
    sizes = {name: value for name, value in TINY.items() if name != "intermediate_size"}
    return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, num_register_tokens=2)), "encoder.layer.1", 3


def of_timm() -> tuple[nn.Module, str, int]:
    sizes = {"embed_dim": 16, "depth": 3, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=8, **sizes), "blocks.1", 1


def of_open_clip() -> tuple[nn.Module, str, int]:
    return open_clip.model._build_vision_tower(8, {"image_size": 16, "layers": 3, "width": 24, "patch_size": 8, "head_width": 12}), "transformer.resblocks.1", 1  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("tokens", ["patches", "cls", "all"])
@pytest.mark.parametrize("make", [vit, clip_vision, dinov2, of_timm, of_open_clip])
def test_tokens_of_vision_models_at_a_block(make: Any, tokens: Any, images: Path, tmp_path: Path):
    torch.manual_seed(0)
    model, at, prefix = make()
    if at.startswith(("encoder", "layers")) and not any(name == at for name, _ in model.named_modules()):
        at = next(name for name, _ in model.named_modules() if name.endswith((f"layers.{at[-1]}", f"layer.{at[-1]}")))
    model.eval()
    assert prefix_of(model) == prefix
    call = {"at": at, "processor": TRANSFORM, "tokens": tokens, "batch_size": 4, "max_unreadable": 0.2}
    with sdl.extract(model, images, out=tmp_path / "a.h5", **call, **QUIET) as store:
        paths = list(dict.fromkeys(store.read("path").tolist()))
        assert len(paths) == 7
        x = torch.stack([TRANSFORM(Image.open(images / path).convert("RGB")) for path in paths])
        expected = torch.cat([hooked(model, at, lambda part=part: model(part)) for part in x.split(4)])
        rows = {"patches": expected[:, prefix:], "cls": expected[:, :1], "all": expected}[tokens]
        assert np.array_equal(store.read("input"), rows.flatten(0, 1).numpy())
        if tokens == "patches":
            assert store.read("patch").tolist() == [0, 1, 2, 3] * 7
        assert [entry["path"] for entry in store.provenance["skipped"]] == ["broken.jpg"]


def test_pooled_rows_and_a_processor_of_transformers(images: Path, tmp_path: Path):
    torch.manual_seed(0)
    model = ViTModel(ViTConfig(**TINY)).eval()
    processor = ViTImageProcessorFast(size={"height": 16, "width": 16})
    call = {"processor": processor, "max_unreadable": 0.2, **QUIET}
    with sdl.extract(model, images, at="pooler", out=tmp_path / "a.h5", **call) as store:
        x = processor([Image.open(images / path).convert("RGB") for path in store.read("path")], return_tensors="pt")
        with torch.no_grad():
            np.testing.assert_allclose(store.read("input"), model(**x).pooler_output.numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(SourceError, match=r"1 of 8 images could not be read, more than max_unreadable \(0\.01\)"):
        sdl.extract(model, images, at="pooler", out=tmp_path / "b.h5", processor=processor, progress=False)
    with pytest.raises(SourceError, match=r"images\d+: ends after 7 of 99 rows; give more images, or lower max_tokens"):
        sdl.extract(model, images, at="pooler", out=tmp_path / "b.h5", max_tokens=99, **call)
    with pytest.raises(SourceError, match="ViTModel does not say how to turn pictures into tensors; give processor"):
        sdl.extract(model, images, at="pooler", out=tmp_path / "b.h5", progress=False)


def test_a_model_of_open_clip_brings_its_preprocessing(images: Path, clip_files: ClipFiles, tmp_path: Path):
    from sdlcore.extraction.models import load_clip

    clip = load_clip(clip_files.architecture, clip_files.weights)
    name = f"open_clip:{clip_files.architecture}:{clip_files.weights}"
    at, call = "transformer.resblocks.0", {"tokens": "patches", "max_unreadable": 0.2, "device": "cpu", **QUIET}
    with (
        sdl.extract(name, images, at=at, out=tmp_path / "a.h5", **call) as named,
        sdl.extract(clip, images, at=f"visual.{at}", out=tmp_path / "b.h5", **call) as loaded,
    ):
        assert np.array_equal(named.read("input"), loaded.read("input"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_several_places_of_language_models_are_the_sites_of_one_store_or_stores(dtype: str, lm: Any, tmp_path: Path):
    call = {"drop": (), **READING, "store_dtype": dtype}
    at = ["model.layers.0", "resid_post.1", "blocks.2.hook_resid_post", "model.layers.2.mlp.act_fn"]
    texts = documents(60)
    stores = sdl.extract(lm, texts, at=at, out=tmp_path / "stores", **call)
    with sdl.extract(lm, texts, at=at, out=tmp_path / "a.h5", **call) as store:
        ids = torch.from_numpy(store.read("token")[: 3 * 16]).long().reshape(3, 16)
        paths = [f"model.layers.{n}" for n in range(3)] + ["model.layers.2.mlp.act_fn"]
        for column, one, path in zip(("input", "target", "site2", "site3"), stores, paths, strict=True):
            assert np.array_equal(store.read(column), one.read("input"))
            expected = hooked(lm, path, lambda: lm(ids)).flatten(0, 1).to(getattr(torch, dtype))
            assert np.array_equal(store.read(column)[: 3 * 16], expected.float().numpy())
            one.close()


def test_gpt2_and_a_pair_of_tuples(folder: Path, tmp_path: Path):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=8, n_layer=2, n_head=2, n_positions=32)).eval()
    at = [("mlp_in.0", "mlp_out.0"), ("mlp_in.1", "mlp_out.1")]
    call = {"tokenizer": load_tokenizer(folder), "drop": (), **READING, "store_dtype": "float32"}
    first, second = sdl.extract(model, documents(20), at=at, out=tmp_path, **call)
    ids = torch.from_numpy(first.read("token")[: 3 * 16]).long().reshape(3, 16)
    for number, store in enumerate((first, second)):
        with store:
            expected = hooked(model, f"transformer.h.{number}.mlp", lambda: model(ids))
            assert np.array_equal(store.read("target")[: 3 * 16], expected.flatten(0, 1).numpy())
    with sdl.ActivationStore(tmp_path / "mlp_in.1+mlp_out.1.h5") as store:
        coder = sdl.fit(store, pair="transcoder", activation="topk", k=2, n_q=8, steps=2, batch_size=16, progress=False)
    with torch.no_grad(), sdl.splice(model, dictionary=coder):  # it knows its place
        spliced = model(ids).logits
    assert not torch.equal(spliced, model(ids).logits)


@pytest.mark.parametrize("tokens", ["last", "mean", "cls"])
def test_one_row_of_each_document(tokens: Any, lm: Any, tmp_path: Path):
    texts = [text for text in documents(20) if text]
    call = {**READING, "batch_size": 4, "store_dtype": "float32"}
    with sdl.extract(lm, texts, at="model.layers.1", out=tmp_path / "a.h5", tokens=tokens, **call) as store:
        assert store.read("document").tolist() == list(range(len(texts)))
        tokenizer = load_tokenizer(lm.name_or_path)
        for row, text in zip(store.read("input"), texts, strict=True):
            ids = torch.tensor([tokenizer(text)["input_ids"][:16]])
            (x,) = hooked(lm, "model.layers.1", lambda ids=ids: lm(ids))
            expected = {"last": x[-1], "mean": x.mean(0), "cls": x[0]}[tokens]
            np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-4)


def test_an_encoder_that_no_table_knows(folder: Path, tmp_path: Path):
    torch.manual_seed(0)
    sizes = {name: SIZES[name] for name in ("hidden_size", "intermediate_size", "num_attention_heads")}
    model = BertModel(BertConfig(vocab_size=400, num_hidden_layers=2, **sizes)).eval()
    call = {**READING, "tokenizer": str(folder), "tokens": "mean"}
    with sdl.extract(model, documents(9), at="encoder.layer.1", out=tmp_path / "a.h5", **call) as store:
        assert store.rows == 8  # without the empty one
    with pytest.raises(SourceError, match=r"BertModel has no module encoder\.layers\.1, but encoder\.layer\.1"):
        sdl.extract(model, documents(9), at="encoder.layers.1", out=tmp_path / "b.h5", **call)


TEMPLATE = "{% for m in messages %}<|endoftext|>{{ m.role }}: {{ m.content }}{% endfor %}"


def test_chats_give_rows_of_the_chosen_roles(lm: Any, tmp_path: Path):
    tokenizer = load_tokenizer(lm.name_or_path)
    tokenizer.chat_template = TEMPLATE
    chats = [
        [{"role": "user", "content": f"{a} {b}"}, {"role": "assistant", "content": f"{b} {a} {b}"}]
        for a, b in zip(documents(9)[:5], documents(9)[4:], strict=True)
        if a and b
    ]
    call = {"at": "resid_post.1", "tokenizer": tokenizer, **READING, "drop": ()}
    with (
        sdl.extract(lm, chats, out=tmp_path / "all.h5", **call) as every,
        sdl.extract(lm, chats, out=tmp_path / "some.h5", roles="assistant", **call) as some,
    ):
        kinds = some.provenance["rows_by_kind"]
        assert kinds["kept"] == some.rows < every.rows == sum(kinds.values())
        where = set(zip(every.read("document").tolist(), every.read("position").tolist(), strict=True))
        text = tokenizer.apply_chat_template(chats[0], tokenize=False)
        begin = len(tokenizer(text[: text.index("<|endoftext|>assistant")])["input_ids"])
        positions = some.read("position")[some.read("document") == 0].tolist()
        assert positions == [at for document, at in sorted(where) if document == 0 and at >= begin]
    with sdl.extract(lm, chats, out=tmp_path / "some.h5", roles=["assistant"], **call) as again:
        assert again.rows == some.rows
    for options, message in [
        (
            {"roles": ["asistant"]},
            "no message has the role asistant, only assistant, user; set roles to some of these",
        ),
        ({"roles": "user", "tokens": "last"}, "roles chooses tokens, but tokens is last, a row for each document"),
    ]:
        with pytest.raises(ValueError, match=message):
            sdl.extract(lm, chats, out=tmp_path / "other.h5", **options, **call)
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    options = {"column": "messages"}
    with sdl.extract(lm, tmp_path / "chats.jsonl", out=tmp_path / "file.h5", text_options=options, **call) as store:
        assert store.rows == every.rows


@pytest.mark.parametrize(
    ("where", "settings"),
    [
        ({"at": "resid_post.1"}, {"layer": 2}),
        ({"at": ["mlp_in.2", "mlp_out.2"], "drop": ()}, {"layer": 3, "site": "mlp", "drop": ()}),
        ({"at": ["model.layers.0", "model.layers.3"], "dtype": "bfloat16"}, {"layers": (1, 4), "dtype": "bfloat16"}),
    ],
)
def test_a_notebook_and_a_pipeline_extract_the_same_bits(folder, tmp_path, where, settings):
    text = tmp_path / "words.jsonl"
    text.write_text("\n".join(json.dumps({"body": text}) for text in documents(60)))
    reading = {"context_length": 16, "contexts_per_batch": 3, "text_column": "body"}
    source = LanguageSource("m", "t", train_samples=300, test_samples=50, **reading, **settings)
    arguments = {"source": source, "model": str(folder), "text": str(text), "device": "cpu"}
    script("activations")(**arguments, threads=torch.get_num_threads(), outputs=(tmp_path / "a.h5", tmp_path / "b.h5"))
    call = {"out": tmp_path / "c.h5", "max_tokens": 300, "text_options": {"column": "body"}, **where, **READING}
    with sdl.ActivationStore(tmp_path / "a.h5") as expected, sdl.extract(folder, text, **call) as store:
        assert store.columns() == expected.columns()
        assert all(np.array_equal(store.read(name), expected.read(name)) for name in store.columns())
        for fact in ("text", "separator", "largest_norm", "precision", "rows_by_kind"):
            assert store.provenance[fact] == expected.provenance[fact]


def test_a_gguf_file_gives_the_rows_of_its_model(folder: Path, tmp_path: Path):
    gguf = save_tiny_gguf(folder, tmp_path / "tiny.gguf")
    call = {"at": "model.layers.1", **READING}
    with (
        sdl.extract(folder, documents(20), out=tmp_path / "a.h5", **call) as expected,
        sdl.extract(gguf, documents(20), out=tmp_path / "b.h5", **call) as store,
    ):
        assert np.array_equal(store.read("input"), expected.read("input"))


def test_a_finished_store_is_opened_and_no_other_is_overwritten(folder: Path, tmp_path: Path):
    call = {"model": folder, "inputs": documents(60), "out": tmp_path / "acts.h5", "max_tokens": 300, **READING}
    with sdl.extract(at="resid_post.1", **call) as store:
        checksum = store.checksum
    written = (tmp_path / "acts.h5").stat().st_mtime_ns
    with sdl.extract(at="resid_post.1", **call) as store:
        assert store.checksum == checksum
    for other, message in [
        ({"at": "resid_post.2"}, r"at is \['resid_post.1'\], here \['resid_post.2'\]"),
        ({"max_tokens": 200}, "max_tokens is 300, here 200"),
        ({"inputs": documents(50)}, r"inputs\.text\."),
        ({"dtype": "bfloat16"}, r"inputs\.model\."),
    ]:
        with pytest.raises(ValueError, match=rf"acts\.h5 belongs to another run: {message}.*\. Delete it"):
            sdl.extract(**{"at": "resid_post.1", **call, **other})
    assert (tmp_path / "acts.h5").stat().st_mtime_ns == written


class CutOffError(Exception):
    """Stands for a kill."""


def calls_on(kind: str, lm: Any, images: Path) -> dict[str, Any]:
    """Return a call of sdl.extract on some kind of inputs."""
    torch.manual_seed(0)
    if kind == "text":
        return {"model": lm, "inputs": documents(60), "at": ["resid_post.0", "resid_post.2"], **READING}
    if kind == "documents":
        call = {"model": lm, "inputs": documents(60), "at": ["resid_post.0", "resid_post.2"], "tokens": "last"}
        return call | READING
    if kind == "images":
        model, at, _ = of_timm()
        call = {"model": model, "inputs": images, "at": [at, "blocks.2"], "processor": TRANSFORM, "tokens": "patches"}
        return {**call, "batch_size": 1, "max_unreadable": 0.2, "progress": False}
    inputs = list(torch.randn(20, 5, 7, 6))
    return {"model": own_model(), "inputs": inputs, "at": ["encoder.0", "encoder.1"], "progress": False}


@pytest.mark.parametrize("out", ["a.h5", "stores"])
@pytest.mark.parametrize("kind", ["text", "documents", "images", "ready"])
def test_a_call_that_was_cut_off_resumes_with_the_same_bits(kind, out, lm, images, tmp_path, monkeypatch):
    call = calls_on(kind, lm, images)

    def contents(name: str) -> list[Any]:
        found = sdl.extract(out=tmp_path / name / out, **call)
        stores = found if isinstance(found, list) else [found]
        read = [([store.read(name).tolist() for name in store.columns()], store.provenance) for store in stores]
        for store in stores:
            store.close()
        return read

    expected = contents("whole")
    monkeypatch.setattr(filling, "COMMIT_BATCHES", 2)
    take = filling.Filling.take
    for batches in (3, 4):
        left = iter(range(batches))

        def cut(self: Any, values: Any, left: Any = left) -> None:
            if next(left, None) is None:
                raise CutOffError
            take(self, values)

        with monkeypatch.context() as patch:
            patch.setattr(filling.Filling, "take", cut)
            with pytest.raises(CutOffError):
                contents("cut")
    assert contents("cut") == expected


def test_rows_are_written_before_further_inputs_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """So memory does not grow with the data."""
    given = written = 0
    append = ResumableWriter.append

    def counted(self: Any, x: np.ndarray, *more: Any, **columns: Any) -> None:
        nonlocal written
        append(self, x, *more, **columns)
        written += len(x)

    class Coming:
        def __iter__(self) -> Any:
            nonlocal given
            given = 0
            for _ in range(30):
                assert given - written <= 8
                given += 8
                yield torch.zeros(8, 6)

    monkeypatch.setattr(ResumableWriter, "append", counted)
    sdl.extract(own_model(), Coming(), at="encoder.0", out=tmp_path / "a.h5", progress=False).close()
    assert given == written == 240


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": "model.layers.9"}, "LlamaForCausalLM has no module model.layers.9|but the model has 4 blocks"),
        ({"at": "resid_post.9"}, "layer is 10, but the model has 4 blocks"),
        ({"at": []}, "at must be different paths of modules, one at least"),
        ({"at": ["resid_post.1", "resid_post.1"]}, "at must be different paths of modules"),
        ({"at": "model.layers.1:outside"}, "ends in outside, expected PATH, PATH:input or PATH:output"),
        ({"tokens": "patches"}, "tokens is patches, but inputs are text"),
        ({"context_length": 99}, "context_length must be between 2 and the model's 64, found 99"),
        ({"drop": ("first_positon",)}, "did you mean first_position"),
        ({"at": "model.rotary_emb"}, "activations of shape .*, expected a row for each of"),
        ({"inputs": 3}, "inputs is a int, expected text, a folder of images, or batches of tensors"),
        ({"max_tokens": 10**6}, "the texts: ends after [0-9]+ of 1000000 rows; give more text"),
        ({"text_options": {"colum": "body"}}, "text_options.colum: unknown setting; did you mean column"),
        ({"dtype": "bfloat16"}, "dtype is bfloat16, but model is a loaded model, which has its own"),
    ],
)
def test_what_cannot_be_extracted_is_refused_in_a_sentence(lm, tmp_path, options, message):
    call = {"inputs": documents(20), "at": "resid_post.1", "out": tmp_path / "a.h5", **READING, **options}
    with pytest.raises((ValueError, SourceError), match=message):
        sdl.extract(lm, **call)
