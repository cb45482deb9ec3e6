"""The most active tokens of latents, and how they are shown."""

import html
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import create_store
from sdlcore.inside import contexts
from sdlcore.inside.contexts import (
    Peak,
    Snippet,
    as_html,
    as_markdown,
    latents_to_show,
    page,
    snippets,
    top_activating,
)
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.random_streams import stream, torch_stream
from sdlcore.run import ModelConfig
from sdlcore.sources.language.corpus import Text, open_text
from sdlcore.sources.language.text import SourceError
from tests.sources.language.tiny_llama import documents, make_tokenizer

D, N, Q = 8, 700, 24


@pytest.fixture(scope="module")
def coder() -> SparseCoder:
    return SparseCoder(ModelConfig(activation="topk", k=3, n_q=Q), (D,), (D,), torch_stream(0, "weights")).eval()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    path = tmp_path_factory.mktemp("text") / "words.json"
    path.write_text(json.dumps(documents(60)))
    return open_text(path)


@pytest.fixture(scope="module")
def store(text: Text, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """Random activations at real tokens of the text, and at some that belong to no document."""
    path, tokenizer = tmp_path_factory.mktemp("store") / "a.h5", make_tokenizer()
    rows = [
        (document.number, position, token)
        for document in text.documents()
        for position, token in enumerate(tokenizer(document.text)["input_ids"])
    ][: N - 20]
    rows += [(-1, -1, 0)] * 20
    document, position, token = np.array(rows).T
    x = stream(0, "x").normal(size=(N, D))
    x[-20:] *= 100  # the largest of all
    with create_store(path, {}) as writer:
        writer.append(x, references={"document": document, "position": position, "token": token})
    return ActivationStore(path)


def test_peaks_are_the_largest_activations_one_a_document(
    coder: SparseCoder, store: ActivationStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(contexts, "ROWS_AT_ONCE", 64)
    with torch.inference_mode():
        latents_NQ = coder.encode(torch.from_numpy(store.read("input"))).numpy()
    document, position, token = (store.read(f"references/{name}") for name in ("document", "position", "token"))
    found = top_activating(coder, store, [3, 0, 17], number=5)
    assert list(found) == [3, 0, 17]
    for latent, peaks in found.items():
        seen: dict[int, Peak] = {}
        for row in np.argsort(-latents_NQ[:, latent], kind="stable"):
            if latents_NQ[row, latent] > 0 and document[row] >= 0:
                its = (int(document[row]), int(position[row]), int(token[row]))
                seen.setdefault(its[0], Peak(latent, float(latents_NQ[row, latent]), *its))
        expected = list(seen.values())[:5]
        assert [peak[2:] for peak in peaks] == [peak[2:] for peak in expected]
        np.testing.assert_allclose([peak.activation for peak in peaks], [p.activation for p in expected], rtol=1e-5)


def test_latents_to_show_run_from_the_most_to_the_least_frequent(coder: SparseCoder, store: ActivationStore):
    with torch.inference_mode():
        fired = (coder.encode(torch.from_numpy(store.read("input"))) > 0).sum(0).numpy()
    shown = latents_to_show(coder, store, 5)
    assert len(set(shown)) == 5
    assert fired[shown[0]] == fired.max()
    assert fired[shown[-1]] == fired[fired > 0].min()
    assert sorted(fired[shown], reverse=True) == fired[shown].tolist()
    assert set(latents_to_show(coder, store, 10 * Q)) == set(np.flatnonzero(fired))


def test_snippets_have_the_token_in_its_document(coder: SparseCoder, store: ActivationStore, text: Text):
    tokenizer = make_tokenizer()
    peaks = [peak for its in top_activating(coder, store, range(Q), 4).values() for peak in its]
    shown = snippets(peaks, text, tokenizer, width=3)
    assert [snippet.peak for snippet in shown] == peaks
    by_index = {document.number: document.text for document in text.documents()}
    for snippet in shown:
        assert snippet.before + snippet.token + snippet.after in by_index[snippet.peak.document]
        assert tokenizer(snippet.token)["input_ids"] == [snippet.peak.token]
        assert len(tokenizer(snippet.before)["input_ids"]) == min(3, snippet.peak.position)
    json.dumps([snippet.to_dict() for snippet in shown])


def test_a_text_that_the_store_was_not_made_from_is_refused(text: Text):
    tokenizer = make_tokenizer()
    for wrong in (Peak(0, 1.0, 10**6, 0, 5), Peak(0, 1.0, 0, 10**6, 5), Peak(0, 1.0, 0, 0, 0)):
        with pytest.raises(SourceError, match="it is not the text, or not the tokenizer"):
            snippets([wrong], text, tokenizer)


PEAK = Peak(4, 2.5, 0, 0, 0)


def test_snippets_are_escaped():
    snippet = Snippet(PEAK, "<script>alert(1)</script> *", "_a\nb_", " & `c`")
    assert as_html(snippet) == "&lt;script&gt;alert(1)&lt;/script&gt; *<mark>_a\nb_</mark> &amp; `c`"
    assert as_markdown(snippet) == r"&lt;script&gt;alert\(1\)&lt;/script&gt; \*<b>\_a ⏎ b\_</b> &amp; \`c\`"
    shown = page("A title", {4: [snippet]})
    assert shown.startswith("# A title\n\n## Latent 4\n\n- 2.5: &lt;script")


@given(st.text(), st.text(min_size=1), st.text())
def test_no_text_gets_out_of_its_line_or_makes_a_tag(before: str, token: str, after: str):
    snippet = Snippet(PEAK, before, token, after)
    line = as_markdown(snippet)
    assert "\n" not in line
    for shown, tag in ((line, "b"), (as_html(snippet), "mark")):
        assert re.findall(r"<[^>]*>", shown) == [f"<{tag}>", f"</{tag}>"]
    parts: list[Any] = re.split("</?mark>", as_html(snippet))
    assert [html.unescape(part) for part in parts] == [before, token, after]
