"""Numbers in the README and the findings equal the kept tables, so pages cannot drift away from their data."""

import json
from functools import cache

import numpy as np
import pandas as pd
from scipy import stats

from sdlstudy.results.tables import read_csv
from sdlstudy.verdicts.judging import matches
from tests.conftest import REPOSITORY

README, FINDINGS, SOLVERS, VERDICTS = "README.md", "docs/findings.md", "docs/solvers.md", "docs/verdicts.md"
METHODS = ("relu", "jumprelu", "topk", "batchtopk", "matryoshka", "transcoder", "crosscoder")


@cache
def frame(name: str) -> pd.DataFrame:
    folder = "" if name.startswith("benchmarks/") else "docs/results/"
    return read_csv(REPOSITORY / f"{folder}{name}.csv")


@cache
def words(page: str) -> str:
    return " ".join((REPOSITORY / page).read_text().split())


def assert_says(page: str, *texts: str) -> None:
    for text in texts:
        assert text in words(page), f"{page}: {text}"


def floor(share: float, digits: int = 1) -> str:
    """Return a share in per cent, rounded down: pages say "or more"."""
    scale = 10**digits
    return f"{np.floor(round(100 * share * scale, 6)) / scale:g}"


def percent(share: float, digits: int = 1) -> str:
    """Return a share in per cent as pages write it, ".5" without the nought."""
    text = f"{round(100 * share, digits):g}"
    return text.removeprefix("0") if text.startswith("0.") else text


def short(number: float, digits: int = 2) -> str:
    """Return a number below 1 as pages write it, without the nought."""
    return f"{number:.{digits}f}".removeprefix("0")


def decoders(table: str, protocol: str, methods: tuple[str, ...] = METHODS) -> pd.Series:
    rows = frame(table)
    rows = rows[rows["method"].isin(methods) & (rows["anchoring"] == "none") & (rows["protocol"] == protocol)]
    assert len(rows) == len(methods)
    return rows.set_index("method")["gt_recovery_decoder_mean"]


def test_decoders_at_the_papers_scale():
    best, paper = (decoders("paper/table1", protocol) for protocol in ("best", "paper"))
    assert_says(
        README, f"recover {floor(best.min())} % or more", f"recover {percent(paper.min())} to {percent(paper.max())} %"
    )
    assert_says(
        FINDINGS, f"recover {percent(paper.min())} to {percent(paper.max())} %, and {floor(best.min())} % or more"
    )
    rows = frame("paper/table1")
    plain = rows[(rows["anchoring"] == "none") & rows["method"].isin(METHODS)]
    assert (plain["gt_recovery_encoder_mean"] == 0).all()
    nulls = rows.set_index("method")
    assert_says(
        README,
        f"without any training, {percent(nulls.loc['random_samples', 'gt_recovery_decoder_mean'])} % of the features",
    )
    frozen = nulls.loc["topk_frozen_decoder_linear", "gt_recovery_encoder_raw_tau95_mean"]
    assert_says(FINDINGS, f"own random start recovers {percent(frozen, 0)} % of the features")


@cache
def changes() -> dict[tuple[str, str], np.ndarray]:
    """Return what 30 anchors change of the encoder's recovery of the others, in points, by method and protocol."""

    def matches(*run: object) -> dict[str, list[float]]:
        name = "lrb.{}.{}.{}.seed{}.json".format(*run)
        return json.loads((REPOSITORY / "docs/results/paper/runs" / name).read_text())["features"]

    by_case = {}
    for protocol in ("paper", "best"):
        for method in METHODS:
            differences = []
            for seed in range(3):
                with_, without = (matches(method, protocol, how, seed) for how in ("ground_truth_30", "none"))
                others = np.setdiff1d(np.arange(1000), with_["anchored"])
                shares = [np.mean(np.array(run["encoder_raw"])[others] > 0.95) for run in (without, with_)]
                differences.append(100 * float(np.diff(shares)[0]))
            by_case[method, protocol] = np.array(differences)
    return by_case


def test_thirty_anchors_change_nothing_that_survives_a_correction():
    tests = {key: stats.ttest_1samp(values, 0).pvalue for key, values in changes().items() if np.ptp(values) > 0}
    below = sorted(p for p in tests.values() if p < 0.05)
    assert min(below) * len(changes()) > 0.05
    assert [f"{p:.3f}".removeprefix("0") for p in below] == [".016", ".039"]
    assert_says(FINDINGS, f"Of {len(changes())} tests, seven methods under two protocols, two have p < .05")
    largest = max(abs(values.mean()) for values in changes().values())
    ends = (
        abs(values.mean()) + stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
        for values in changes().values()
    )
    assert_says(FINDINGS, f"by more than {largest:.1f} points (all intervals within {max(ends):.1f})")
    assert_says(FINDINGS, f"change the encoder's recovery of the other 970 features by {largest:.1f} points at most")
    zeros = len(changes()) - len(tests)
    assert zeros == 7
    assert_says(FINDINGS, "Seven of the 14 tests compare 0 % with 0 %")


def test_thirty_anchors_have_no_room_for_a_gain():
    rows = frame("paper/table1")
    rows = rows[rows["method"].isin(METHODS)]
    assert len(rows) == 4 * len(METHODS)
    assert (rows["gt_recovery_encoder_unanchored_mean"] == 0).all()
    others = rows["gt_recovery_decoder_unanchored_mean"]
    recovery_range = f"{percent(others.min())} to {percent(others.max())} %"
    assert_says(README, f"Encoder rows recover 0 % of them with or without anchors, and decoders {recovery_range}")
    assert_says(FINDINGS, f"decoders recover {recovery_range} of the 970 features with and without anchors")


def test_short_trainings_recover_too_little_to_judge_anchors():
    runs = frame("explain/first_author/anchoring_dose_paper_runs")
    levels = 100 * runs.groupby("method")["recovery_none"].mean()
    assert_says(
        "docs/results/explain/README.md",
        f"All four recover {levels.min():.0f} to {levels.max():.0f} %. No random anchors",
    )


def test_mean_shift_beside_posterior_codes_alone():
    page, runs = "docs/results/methods/README.md", frame("methods/runs_mean_shift")
    f1 = runs.groupby(["ground", "method"])["detection_f1"].mean()
    for ground in ("zipf", "synth_s"):
        before, after = (short(f1[ground, f"batchtopk_{name}"], 3) for name in ("posterior", "mean_shift"))
        assert_says(page, f"({before} to {after})")
    assert all(f1[ground, "batchtopk_mean_shift"] > f1[ground, "batchtopk"] for ground in runs["ground"].unique())


def test_the_search_at_the_papers_scale():
    rows = frame("benchmarks/results/convex_search")
    rows = rows[rows["n"] == 1000]
    assert (len(rows), rows["recovery"].min()) == (10, 1.0)
    took = f"{rows['seconds'].min():.1f} to {rows['seconds'].max():.1f} s"
    assert_says(FINDINGS, f"on each of ten unseen seeds, in {took}")
    assert_says(SOLVERS, f"the minute before was {rows['load'].min():.1f} to {rows['load'].max():.1f}")


def test_harder_benches():
    means = frame("harder/harder").groupby(["source", "method"])["gt_recovery_decoder"].mean()
    noisy = means["noisy", "acs"]
    most = means["nested"].max()
    assert_says(FINDINGS, f"no method finds more than {short(most)} of the features")
    assert_says(FINDINGS, f"search most: the search then finds {short(noisy)} of the features")
    tuned = frame("methods/runs").groupby(["ground", "method"])["gt_recovery_decoder"].mean()["nested"]
    relu, topk, lista = (short(tuned[method]) for method in ("relu", "topk", "lista"))
    assert_says(FINDINGS, f"ReLU recovers {relu} of them, TopK {topk} and LISTA {lista}")


def test_the_map_of_anchoring():
    rows = frame("anchoring/anchoring_map")
    counts = rows["verdict"].value_counts()
    shared = rows[rows["verdict"] == "harms"].groupby(["source", "method", "measure"]).size().max()
    assert (len(rows), shared) == (96, 5)
    sentence = f"in {counts['helps']}, harms in {counts['harms']}, and {counts['cannot tell']} cannot tell"
    assert_says(FINDINGS, sentence, "five of the 12 harms compare with the same runs without anchors")


def test_numbers_that_were_run_and_those_within_the_tolerance_under_the_other_protocol():
    rows = frame("paper/verdicts")
    decided = rows[~rows["verdict"].str.startswith("not run")]
    assert not decided["verdict"].eq("reproduced").any()
    for page in (FINDINGS, VERDICTS, "docs/results/paper/README.md"):
        assert_says(page, f"{len(decided)} numbers that we ran is reproduced")
    assert_says(README, f"Of its {len(rows)} numbers, we ran {len(decided)}")
    near = []
    for method in METHODS:
        for anchors, suffix in (("none", ""), ("ground_truth_30", "_unanchored")):
            folder = REPOSITORY / "docs/results/paper/runs"
            files = [folder / f"lrb.{method}.best.{anchors}.seed{seed}.json" for seed in range(3)]
            metrics = [json.loads(file.read_text())["metrics"] for file in files]
            table = frame("paper/table1").set_index(["method", "protocol", "anchoring"]).loc[(method, "best", anchors)]
            recovery = [100 * metric[f"gt_recovery_encoder_raw{suffix}_tau95"] for metric in metrics]
            good = {
                "gt_recovery_percent": matches(100 * table["paper_gt_recovery"], recovery, "gt_recovery_percent"),
                "mip": matches(table["paper_mip"], [metric[f"mip_encoder_raw{suffix}"] for metric in metrics], "mip"),
                "l0": matches(table["paper_l0"], [metric["l0"] for metric in metrics], "l0"),
            }
            near += [(method, anchors, number) for number, holds in good.items() if holds]
    assert near == [("relu", anchors, "gt_recovery_percent") for anchors in ("none", "ground_truth_30")]
    # Tables 4 and 6 have the same setting without anchors, and the same runs
    again = decided[decided["method"].eq("ReLU SAE") & decided["paper"].eq(0) & ~decided["table"].eq("table1")]
    assert again["number"].eq("gt_recovery_percent").all()
    assert len(near) + len(again) == 4
    assert_says(
        FINDINGS, "Under protocol `best`, four of the 129 are within the tolerance: all are ReLU's recovery of 0 %"
    )


def test_numbers_that_other_readings_reproduce():
    rows = frame("paper/verdicts")
    cells = rows[rows["reproduced_under"].notna()]
    recovery = cells.loc[cells["number"] == "gt_recovery_percent", "paper"]
    mip, nothing, all_ = int((cells["number"] == "mip").sum()), int((recovery == 0).sum()), int((recovery >= 98).sum())
    assert len(recovery) - nothing - all_ == 2
    assert_says(
        FINDINGS, f"reproduce {len(cells)} numbers, which is weak evidence.** Of these {len(cells)} numbers, {mip} are"
    )
    assert_says(FINDINGS, f"{nothing} are recoveries of 0 %, and {all_} are recoveries of 98 % or more")
    assert_says(
        VERDICTS, f"| MIP | {mip} |", f"| recovery of 0 % | {nothing} |", f"| recovery of 98 % or more | {all_} |"
    )


def test_settings_on_real_activations():
    means = frame("benchmarks/results/real_activations").groupby("settings")[["fvu", "dead_fraction"]].mean()
    scaled = "`normalise: true`, `bias: true`"
    resampled, auxiliary = (means.loc[f"{scaled}, {one}"] for one in ("`resample_every: 200`", "`lambda_aux: 0.03125`"))
    plain, white = means.loc[scaled], means.loc["`whiten: true`, `bias: true`"]
    assert short(plain["fvu"], 4) == short(resampled["fvu"], 4)
    dead = f"from {short(plain['dead_fraction'], 3)} to {short(resampled['dead_fraction'], 3)}"
    assert_says(FINDINGS, f"lowers the dead fraction {dead}", f"is {short(plain['fvu'], 4)} with and without it")
    assert_says(FINDINGS, f"lowers the error to {short(auxiliary['fvu'], 4)}")
    assert_says(FINDINGS, f"raises TopK's error, from {short(plain['fvu'], 4)} to {short(white['fvu'], 4)}")


def test_encoders_that_can_be_read():
    means = frame("quick/encoders").groupby("method")[["fvu", "mip_encoder"]].mean()
    less = [1 - means.loc[f"{name}_white", "fvu"] / means.loc[name, "fvu"] for name in ("jumprelu", "topk", "relu")]
    assert_says(FINDINGS, f"Whitening takes {percent(min(less), 0)} to {percent(max(less), 0)} % off the error")
    cosine, white = (short(means.loc[name, "mip_encoder"]) for name in ("topk", "topk_white"))
    assert_says(FINDINGS, f"mean best cosine falls from {cosine} to {white}")


def test_synthsaebenchs_distribution():
    names = ("topk", "batchtopk", "nested", "jumprelu", "relu", "saelens_")
    for name, sizes in (("synthsaebench", "the 1,024 features"), ("synthsaebench_m", "the 4,096")):
        means = frame(f"synthsaebench/{name}").groupby("method")["gt_recovery_decoder"].mean()
        trained = means[means.index.str.startswith(names)]
        assert_says(FINDINGS, f"{percent(trained.min())} to {percent(trained.max())} % of {sizes}")
        if name == "synthsaebench":
            assert_says(README, f"decoders recover {percent(trained.max())} % of 1,024 features at most")


def test_the_search_beside_training():
    rows = frame("benchmarks/results/search_and_training")
    assert sorted(rows["seed"].unique()) == [0, 1, 2]
    reached = rows[rows["recovery"] >= 0.99].groupby(["way", "seed"])["processor_seconds"].min()
    for way in ("search", "topk_2000", "topk_16000"):
        assert_says(FINDINGS, f"{reached[way].min():.1f} to {reached[way].max():.1f}")


def test_speeds_of_the_readme_are_those_of_their_processors():
    for processor in ("AVX-512 VNNI", "AVX2"):
        steps = frame(f"benchmarks/results/amd-{processor.lower().replace(' ', '-')}/steps")
        selected = (steps["method"] == "topk") & (steps["batch"] == 1024) & (steps["dtype"] == "float32")
        times = steps[selected].set_index("library")["ms_per_step"]
        libraries = ("sdlcore", "sparsify", "dictionary_learning", "saelens")
        assert_says(README, " | ".join([f"| AMD EPYC with {processor}", *(f"{times[name]:.0f}" for name in libraries)]))


def test_times_of_codes_by_search_are_those_of_the_table():
    rows = frame("benchmarks/results/amd-avx-512-vnni/codes_by_search")
    times = rows.pivot(index="latents", columns="codes", values="microseconds")
    for latents, its in times.iterrows():
        cells = (f"{its[codes]:.3g}" for codes in ("topk", "posterior", "omp", "gradient_pursuit"))
        assert_says("docs/speed.md", " | ".join([f"| {latents:,}", *cells]))


def test_probes_and_stability_of_dictionaries_of_a_language_model():
    page, probes, pairs = "docs/results/judged/README.md", frame("judged/probes"), frame("judged/stability")
    names = {"topk_real": "TopK", "batchtopk_real": "BatchTopK", "relu_real": "ReLU", "raw": "raw activations"}
    names |= {"pca": "principal components", "null: samples": "random samples", "null: directions": "random directions"}
    for features, its in probes.groupby("features"):
        cells = [
            f"{short(one.auc, 3)} ({short(one.auc_low, 3)} to {short(one.auc_high, 3)})"
            for one in its.itertuples(index=False)
        ]
        assert_says(page, f"| {names[features]} | {' | '.join(cells)} |")
    assert (probes["beyond_low"].dropna() < 0).all()
    assert (probes["beyond_high"].dropna() > 0).all()
    for method, its in pairs.groupby("method"):
        shares = [its[f"{side}_{tau}"] for side in ("decoder", "encoder") for tau in (0.7, 0.9)]
        first, *others = (short(share.mean(), 3) for share in shares)
        span = f"{short(shares[0].min(), 3)} to {short(shares[0].max(), 3)}"
        assert_says(page, f"| {names[method]} | {first} ({span}) | {' | '.join(others)} |")
