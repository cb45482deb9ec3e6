"""Which latents of two dictionaries mean the same, on the same samples."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

import sdlcore as sdl
from sdlcore.config import ModelConfig
from sdlcore.evaluation.compare import SUMMARY, TOP
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream

D, Q, N = 6, 10, 80
seeds = st.integers(0, 10**6)


def coder(seed, activation="topk", n_q=Q, d=D):
    k = 3 if activation == "topk" else None
    return SparseCoder.from_config(ModelConfig("sae", activation, n_q, k), (d,), (d,), torch_stream(seed, "x")).eval()


def samples(seed, rows=N):
    return np.random.default_rng(seed).standard_normal((rows, D)).astype(np.float32)


def by_hand(one, other):
    """Return the three measures of two latents from their dense values."""
    on, other_on = one != 0, other != 0
    either = on | other_on
    tops = [set(np.argsort(-abs(z), kind="stable")[: min(TOP, int((z != 0).sum()))]) for z in (one, other)]
    constant = np.ptp(one[either]) == 0 or np.ptp(other[either]) == 0
    rank = np.nan if constant else scipy.stats.spearmanr(one[either], other[either]).statistic
    return (on & other_on).sum() / either.sum(), rank, len(tops[0] & tops[1]) / max(map(len, tops))


@given(seeds, seeds, st.sampled_from(["topk", "relu"]), st.integers(1, N))
def test_measures_are_those_of_dense_latents(seed, other_seed, activation, rows):
    before, after, x = coder(seed, activation), coder(other_seed, "topk"), samples(seed, rows)
    columns = sdl.compare(before, after, x)["after"]
    dense, other = (sdl.Dictionary(one).encode(x) for one in (before, after))
    keys = ("latent", "partner", "jaccard", "rank_correlation", "top_overlap")
    for i, j, *measured in zip(*(columns[key] for key in keys), strict=True):
        if not dense[:, i].any() and not other[:, j].any():
            assert np.isnan(measured).all()
            continue
        np.testing.assert_allclose(measured, by_hand(dense[:, i], other[:, j]), atol=1e-12)
        assert 0 <= measured[0] <= 1
        assert 0 <= measured[2] <= 1
    assert columns["kept"].tolist() == [
        jaccard >= 0.5 and overlap >= 0.5
        for jaccard, overlap in zip(columns["jaccard"], columns["top_overlap"], strict=True)
    ]


@given(seeds)
def test_a_permuted_and_rescaled_dictionary_keeps_every_meaning(seed):
    before, after, x = coder(seed, "relu"), coder(seed, "relu"), samples(seed)
    order = torch.randperm(Q, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        after.W_enc.copy_(4 * before.W_enc[order])
        after.W_dec.copy_(before.W_dec[order] / 4)
    comparison = sdl.compare(before, after, x)
    columns = comparison["after"]
    assert order[columns["partner"]].tolist() == columns["latent"].tolist() == list(range(Q))
    alive = ~np.isnan(columns["jaccard"])
    for key in ("jaccard", "top_overlap"):
        assert (columns[key][alive] == 1).all()
    np.testing.assert_allclose(columns["cosine"], 1, atol=1e-6)
    ranks = columns["rank_correlation"]
    np.testing.assert_allclose(ranks[~np.isnan(ranks)], 1)
    assert comparison.summary()["kept"] == 1


@given(seeds, seeds)
def test_the_order_of_two_dictionaries_does_not_matter(seed, other_seed):
    one, other, x = coder(seed), coder(other_seed), samples(seed)
    there, back = sdl.compare(one, other, x)["after"], sdl.compare(other, one, x)["after"]
    place = np.argsort(there["partner"])
    assert there["partner"][place].tolist() == back["latent"].tolist()
    for key in ("partner", "latent"):
        del there[key]
    for key, values in there.items():
        np.testing.assert_allclose(values[place], back[key], atol=1e-6)


def test_other_codes_of_the_same_rows_keep_their_index_and_lose_samples():
    x = samples(0)
    sae = sdl.Dictionary(coder(0))
    searched = sdl.search(sae, None, "omp", k=2, progress=False)
    comparison = sdl.compare(sae, searched, x, beside={"another seed": coder(1), "itself": sae})
    assert comparison["after"]["partner"].tolist() == list(range(Q))
    assert 0 < comparison.summary()["jaccard"] < 1
    assert comparison.summary("another seed")["kept"] < comparison.summary("itself")["kept"] == 1
    assert comparison.summary("another seed")["cosine_0.9"] < comparison.summary()["cosine_0.9"] == 1
    assert repr(comparison).splitlines()[0].split() == ["latents", *SUMMARY]
    frame = comparison.to_frame()
    assert list(frame.columns) == ["latent", "partner", "jaccard", "rank_correlation", "top_overlap", "cosine", "kept"]
    assert frame.index.value_counts().to_dict() == {"after": Q, "another seed": Q, "itself": Q}
    assert [line.split("  ")[0] for line in repr(comparison).splitlines()[1:4]] == ["after", "another seed", "itself"]


def test_exported_better_codes_bring_a_card(tmp_path):
    x, sae = samples(0), sdl.Dictionary(coder(0))
    searched = sdl.search(sae, x, "omp", l0=2, progress=False)
    encoder = sdl.reencode(sae, x, steps=3, progress=False)
    refined = sdl.refine(sae, x, rounds=4, n_samples=N, progress=False)
    for fact, dictionary in {"searched": searched, "refined": refined, "reencoded": encoder}.items():
        folder = sdl.export(dictionary, "saelens", tmp_path / fact)
        assert str(dictionary.provenance[fact]) in (folder / "README.md").read_text()
        assert np.array_equal(sdl.load(folder).W_dec, dictionary.W_dec)
    (folder / "README.md").write_text("mine")
    with pytest.warns(UserWarning, match=r"README\.md is kept, and may describe another dictionary"):
        sdl.export(dictionary, "saelens", folder)
    assert (folder / "README.md").read_text() == "mine"


def test_a_smaller_dictionary_matches_some_latents():
    columns = sdl.compare(coder(0), coder(1, n_q=4), samples(0))["after"]
    assert len(columns["latent"]) == len(set(columns["partner"])) == 4


def test_samples_of_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="expected 5 numbers in the last dimension, found 80 x 6"):
        sdl.compare(coder(0), coder(0, d=5), samples(0))
