"""Numbers in the README, the findings and other pages equal the kept tables, so pages cannot drift from their data."""

import re
from functools import cache

import pytest
from sdlstudy.verdicts.judging import matches

from sdlcore import paired_interval
from tests.conftest import REPOSITORY
from tests.pages.findings import (
    METHODS,
    THEMES,
    anchored_runs,
    changes,
    effect,
    floor,
    frame,
    long_runs,
    percent,
    short,
    signed,
    table1,
)

README, FINDINGS, SOLVERS = "README.md", "docs/findings.md", "docs/solvers.md"
TRAINING, VERDICTS = "docs/training.md", "docs/paper.md"
BETTER_CODES, SPEED = "docs/better-codes.md", "docs/speed.md"
SETTINGS = re.compile(
    r"""
    (above|within)\ \.(7|9|95)\b | 1000\ independent | \b95\ %\ t?\b | n_p\ =\ 768 | k\ =\ (6|32)\b
    | weight\ (of\ )?(\.1\ and\ )?10?\b
    | \d[\d,]*\ (features|dimensions|latents|anchors|topics|dictionaries|tokens|samples|settings|methods|steps|tests)\b
    | (1|200\ to\ 300|400)\ (steps|for\ the\ mean) | 3\.8\ active | layer\ 12 | version\ [123] | 15\ other\ classes
    | 128\ or\ 1,024 | 32\ readings | 81\ readings | excludes\ 0 | of\ 0\ % | gives\ 0\ % | other\ 900 | of\ the\ 14\b
    | Tables?\ \d(\ to\ 7)? | Figure\ \d
    """,
    re.VERBOSE,
)
"""Numbers that describe what was run, and are no result."""


@cache
def words(page: str) -> str:
    return " ".join((REPOSITORY / page).read_text().split())


def assert_says(page: str, *texts: str) -> None:
    for text in texts:
        assert text in words(page), f"{page}: {text}"


def numbers_left(text: str, *fragments: str) -> list[str]:
    """Return the numbers of a text outside fragments, links and settings, with the words around them."""
    for fragment in fragments:
        text = text.replace(fragment, " ")
    text = SETTINGS.sub(" ", re.sub(r"\]\([^)]*\)", "]", text))
    matches = re.finditer(r"(?<![\w.])[-+±]?\.?\d[\d.,]*", text)
    return [text[max(0, each.start() - 30) : each.end() + 20] for each in matches]


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.__name__)
def test_sentences_of_the_findings_are_recomputed(theme):
    assert_says(FINDINGS, *theme())


def test_every_number_of_the_findings_is_recomputed():
    assert numbers_left(words(FINDINGS), *(text for theme in THEMES for text in theme())) == []


def readme_sentences() -> list[str]:
    """Return the numbers of the README's three findings, in their words."""
    best, paper = (table1(protocol)["gt_recovery_decoder_mean"] for protocol in ("best", "paper"))
    nulls = frame("paper_table1").set_index("method")["gt_recovery_decoder_mean"]
    long = 100 * long_runs("synth_s").groupby("method")["gt_recovery_decoder"].mean()
    ours = long.drop(["random_samples", "dictionary_learning_batchtopk", "saelens_batchtopk", "saelens_nested"])
    assert len(ours) == 11
    span = f"{short(ours.min())} to {short(ours.max())}"
    saelens, dictionary_learning, random_samples = (
        f"{long[name]:.2g}" for name in ("saelens_batchtopk", "dictionary_learning_batchtopk", "random_samples")
    )
    assert long.drop(["random_samples", "dictionary_learning_batchtopk"]).idxmax() == "saelens_batchtopk"
    solver = frame("synthsaebench_runs").groupby("method")["gt_recovery_decoder"].mean()["acs_denoised"]
    denser, early, sparser = (
        anchored_runs(*setting)["recovery_90"].groupby("anchors").mean().map(percent)
        for setting in (("denser", "relu_paper", 0.1), ("paper", "relu", 10.0), ("denser", "relu_paper_sparser", 0.1))
    )
    settings = frame("anchoring_effect_settings").query(
        "method == 'topk' and not clip and measure == 'recovery_90' and contrast == 'true - none'"
    )
    settings = settings.set_index("source")
    helped, denser_topk = settings.loc["more", "mean"], settings.loc["denser"]
    assert settings["verdict"].eq("helps").to_dict() == dict.fromkeys(settings.index, False) | {"more": True}
    assert len(settings) == 4
    low, high = (signed(100 * denser_topk[name]) for name in ("low", "high"))
    complete = frame("paper_sweeps_runs").query("value == .95 and anchoring == 'none'").set_index("method")
    complete = complete.loc[["topk", "batchtopk", "matryoshka"]]
    assert complete["gt_recovery_decoder_unanchored"].eq(1).all()
    assert complete["seed"].eq(0).all()
    clipped = [signed(100 * effect("relu", f"{kind} - none", clip=True)["mean"])[1:] for kind in ("random", "true")]
    rows = frame("paper_table1")
    rows = rows[rows["method"].isin(METHODS)]
    assert len(rows) == 4 * len(METHODS)
    assert (rows["gt_recovery_encoder_unanchored_mean"] == 0).all()
    others = rows["gt_recovery_decoder_unanchored_mean"]
    detached = long_runs("synth_s").groupby("method")["detection_f1"].mean()["nested_detached"]
    return [
        f"recover {floor(best.min())} % or more",
        f"decoders recover {percent(paper.min())} to {percent(paper.max())} %",
        f"can match {percent(256 / 1024, 0)} % of its 1,024 features at most",
        f"without any training, {percent(nulls['random_samples'])} % of the features",
        f"Decoders recover {span} % of the features with eleven trainers of ours, {saelens} % with SAELens' BatchTopK "
        f"and {dictionary_learning} % with dictionary_learning's; 256 random samples match {random_samples} %.",
        f"detect the features nearest to them with an F1 of {short(detached, 3)}.",
        f"[finds {percent(solver, 0)} %]",
        f"ReLU recovers {denser['true']} % of them with true anchors, {denser['random']} % with random directions and "
        f"{denser['none']} % without anchors.",
        f"ReLU then recovers {sparser['random']} % with random directions and {sparser['none']} % without anchors.",
        "TopK, BatchTopK and Matryoshka recover 100 % there without anchors",
        f"ReLU recovers {early['true']} % early in a training with true anchors, {early['random']} % with random "
        f"directions and {early['none']} % without.",
        f"TopK gains {signed(100 * helped)[1:]} points in one of four settings. In another it gains "
        f"{signed(100 * denser_topk['mean'])[1:]} ({low} to {high}), which does not survive",
        f"random directions bring {clipped[0]} of ReLU's {clipped[1]} points",
        f"encoder rows recover 0 % of the other features, and decoders {percent(others.min())} to "
        f"{percent(others.max())} %.",
    ]


def test_every_number_of_the_readmes_findings_is_recomputed():
    assert_says(README, *readme_sentences())
    _, _, findings = words(README).partition("## Findings")
    settings = r"cosine above \.9|If [15] % (of the features )?are active|directions of 100 of 1000 features"
    findings = re.sub(rf"\b[123]\. \*\*|{settings}", " ", findings)
    assert numbers_left(findings.partition("**The paper.**")[0], *readme_sentences()) == []


def test_numbers_that_other_pages_repeat():
    largest = max(abs(values.mean()) for values in changes().values())
    assert_says("docs/paper.md", f"change {largest:.2f} (")
    search = frame("convex_search").query("n == 1000")
    assert_says(SOLVERS, f"in {search['seconds'].median():.1f} s on two cores")


def test_the_long_trainings_on_synthsaebench_are_those_of_their_runs():
    f1, large = (
        long_runs(name).pivot_table(index="seed", columns="method", values="detection_f1")
        for name in ("synth_s", "synth_m")
    )
    means = {name: short(value, 3) for name, value in f1.mean().items()}
    assert list(f1.mean().drop("random_samples").sort_values().index[:4]) == [
        *("gated", "matching_pursuit", "relu", "topk"),
    ]
    for peer in ("saelens_batchtopk", "dictionary_learning_batchtopk"):
        assert paired_interval((f1[peer] - f1["batchtopk"]).to_numpy())[1] > 0
        assert paired_interval((large["batchtopk"] - large[peer]).to_numpy())[1] > 0
    assert_says(
        TRAINING,
        f"detects features best by F1 ({means['nested_detached']}), before SAELens' Matryoshka "
        f"({means['saelens_nested']}). BatchTopK has {means['dictionary_learning_batchtopk']} with "
        f"dictionary_learning's trainer, {means['saelens_batchtopk']} with SAELens' and {means['batchtopk']} with "
        f"ours; with 4,096 features, ours ({short(large['batchtopk'].mean(), 3)}) is ahead of both. "
        f"TopK ({means['topk']}), "
        f"ReLU ({means['relu']}), matching pursuit ({means['matching_pursuit']}) and Gated ({means['gated']}) are",
    )


def test_the_long_trainings_on_benches_are_those_of_their_runs():
    grounds = ("plain", "noisy", "nested")
    late = {name: long_runs(f"{name}_200k") for name in grounds}
    high = late["plain"].groupby("method")["dead_fraction"].mean()[["topk", "batchtopk", "ortsae", "jumprelu"]]
    above_random, lowest = set(), []
    for ground, runs in late.items():
        mip, f1 = (
            runs.pivot_table(index="seed", columns="method", values=name) for name in ("mip_decoder", "detection_f1")
        )
        assert mip.mean().idxmax() == "matching_pursuit"
        assert runs.query("method == 'matching_pursuit'")["gt_recovery_decoder"].eq(1).all()
        lowest.append(mip["matching_pursuit"].mean())
        leads = {name: paired_interval((f1[name] - f1["random_samples"]).to_numpy())[1] for name in f1}
        above_random |= {(ground, name) for name, low in leads.items() if low > 0}
    assert above_random == {("noisy", "relu"), ("nested", "matching_pursuit")}
    trials = frame("methods_trials").query("ground == 'plain_200k' and method == 'matching_pursuit'")
    by_rate = trials.set_index("lr")["mip_decoder"]
    nested = late["nested"].query("method == 'topk'")["gt_recovery_decoder"].mean()
    early = frame("methods_runs").query("ground == 'nested' and method == 'topk'")["gt_recovery_decoder"].mean()
    assert_says(
        TRAINING,
        f"has the highest mean MIP, {short(min(lowest), 3)} or more, and recovers every feature",
        f"a MIP of {short(by_rate[0.001], 3)} at .001 and of {by_rate[0.03]:.3f} at .03",
        f"{percent(high.min(), 0)} to {percent(high.max(), 0)} % of the latents of TopK, BatchTopK, OrtSAE and",
        f"TopK recovers {short(nested)} after 2,000 steps, instead of {short(early)} after 250.",
    )


def test_the_long_trainings_on_smollm2_are_those_of_their_runs():
    means = long_runs("smollm2_200k").groupby("method")[["fvu", "l0"]].mean()
    fvu, l0 = means["fvu"].map(lambda value: short(value, 3)), means["l0"].map("{:.1f}".format)
    assert set(means.index[means["fvu"] < means.loc["batchtopk", "fvu"]]) == {"matching_pursuit", "jumprelu"}
    assert len(means) == 11  # ten methods and random samples
    seconds = long_runs("smollm2_200k").groupby("method")["seconds"].agg(["min", "mean"])
    slower = seconds.loc["matching_pursuit"] / seconds.loc["batchtopk"]
    omp = frame("methods_omp_long").groupby("method")[["fvu", "l0"]].mean()
    null = omp.loc["random_samples"]
    assert omp["fvu"].drop("random_samples").max() < means["fvu"].min()
    tried = frame("methods_trials").query("ground == 'smollm2_200k' and method == 'jumprelu'")
    wide, narrow = (tried[tried["own_settings"] == f"l0_gain {gain}"] for gain in ("0.1", "0.01"))
    (chosen_l0,) = narrow.loc[narrow["chosen"] == 1, "l0"]
    assert_says(
        TRAINING,
        f"our BatchTopK leaves {fvu['batchtopk']} unexplained at an L0 of {l0['batchtopk']}. Of ten trainers, only two "
        f"leave less: matching pursuit {fvu['matching_pursuit']} at {l0['matching_pursuit']}, and JumpReLU "
        f"{fvu['jumprelu']} at {l0['jumprelu']}. Matching pursuit takes {slower['mean']:.1f} times BatchTopK's time "
        f"for all steps if the seeds' times are averaged, and {slower['min']:.1f} times if the fastest seeds are "
        "compared",
        f"rows leaves {short(omp.loc['batchtopk', 'fvu'], 3)}, less than any encoder",
        f".1 ended at {wide['l0'].min():.0f} after 2,000 steps on SmolLM2, and .01 at {chosen_l0:.0f}",
    )
    matryoshka = frame("methods_trials").query("ground == 'synth_s' and method == 'saelens_nested'")
    by_rate = matryoshka.set_index("lr")["detection_f1"]
    assert_says(
        BETTER_CODES,
        f"better at 1e-3 than at 3e-4: an F1 of {short(by_rate[0.001], 3)} and {short(by_rate[0.0003], 3)}",
        f"random samples as rows, coded by OMP, leave {short(null['fvu'], 3)} at an L0 of {null['l0']:.0f}, the "
        f"encoders of TopK {fvu['topk']} and of BatchTopK {fvu['batchtopk']} at 32",
    )


def test_mean_shift_beside_posterior_codes_alone():
    f1 = frame("methods_runs_mean_shift").groupby(["ground", "method"])["detection_f1"].mean()
    for ground in ("zipf", "synth_s"):
        before, after = (short(f1[ground, f"batchtopk_{name}"], 3) for name in ("posterior", "mean_shift"))
        assert_says(BETTER_CODES, f"({before} to {after}")


def test_numbers_that_were_run_and_those_within_the_tolerance_under_the_other_protocol():
    rows = frame("paper_verdicts")
    decided = rows[~rows["verdict"].str.startswith("not run")]
    for page in (VERDICTS, "docs/paper.md"):
        assert_says(page, f"{len(decided)} numbers that we ran is reproduced")
    assert_says(README, f"Of its {len(rows)} numbers, we ran {len(decided)}")
    near = []
    for method in METHODS:
        for anchors, suffix in (("none", ""), ("ground_truth_30", "_unanchored")):
            runs = frame("paper_table1_runs").query("method == @method and protocol == 'best'")
            metrics = runs[runs["anchoring"] == anchors]
            table = frame("paper_table1").set_index(["method", "protocol", "anchoring"]).loc[(method, "best", anchors)]
            recovery = list(100 * metrics[f"gt_recovery_encoder_raw{suffix}_tau95"])
            good = {
                "gt_recovery_percent": matches(100 * table["paper_gt_recovery"], recovery, "gt_recovery_percent"),
                "mip": matches(table["paper_mip"], list(metrics[f"mip_encoder_raw{suffix}"]), "mip"),
                "l0": matches(table["paper_l0"], list(metrics["l0"]), "l0"),
            }
            near += [(method, anchors, number) for number, holds in good.items() if holds]
    assert near == [("relu", anchors, "gt_recovery_percent") for anchors in ("none", "ground_truth_30")]
    # Tables 4 and 6 have the same setting without anchors, and the same runs
    again = decided[decided["method"].eq("ReLU SAE") & decided["paper"].eq(0) & ~decided["table"].eq("table1")]
    assert again["number"].eq("gt_recovery_percent").all()
    assert len(near) + len(again) == 4
    assert_says(
        FINDINGS, f"Under `best`, four of the {len(decided)} are within the tolerance, all ReLU's recovery of 0 %"
    )


def test_numbers_that_other_readings_reproduce():
    rows = frame("paper_verdicts")
    cells = rows[rows["reproduced_under"].notna()]
    recovery = cells.loc[cells["number"] == "gt_recovery_percent", "paper"]
    mip, nothing, all_ = int((cells["number"] == "mip").sum()), int((recovery == 0).sum()), int((recovery >= 98).sum())
    assert len(recovery) - nothing - all_ == 2
    assert_says(
        VERDICTS, f"| MIP | {mip} |", f"| recovery of 0 % | {nothing} |", f"| recovery of 98 % or more | {all_} |"
    )


def test_the_default_settings_beside_those_without_centring_and_resampling():
    rows = frame("default_settings")
    means = rows[rows["method"] == "topk"].groupby(["data", "settings"])[["fvu", "dead_fraction"]].mean()
    scaled = "`normalise: true`, `bias: true`, `resample_every: none`"
    old = scaled.replace("true", "false")
    chosen = scaled.replace("none`", "50`, `resample_until: 0.5`")
    before, after = means.loc["CLIP", old], means.loc["CLIP", chosen]
    dead = f"dead latents from {percent(before['dead_fraction'], 0)} to {percent(after['dead_fraction'], 0)} %"
    assert_says(
        TRAINING, f"unexplained fell from {short(before['fvu'], 3)} to {short(after['fvu'], 3)}, and its {dead}"
    )
    rise = means.loc["bench of config.yaml", chosen]["fvu"] / means.loc["bench of config.yaml", scaled]["fvu"] - 1
    assert_says(TRAINING, f"resampling alone raises TopK's error by {percent(rise, 0)} %")


def test_the_seed_leak():
    rows = frame("quick_seed_leak")
    trained = rows[rows["steps"] > 0]
    means = trained.groupby(["initialisation", "leak", "lr"])[["gt_recovery_encoder", "mip_encoder"]].mean()
    leaked, none = means.loc["tied", True], means.loc["tied", False]
    assert leaked["gt_recovery_encoder"].eq(1).all()
    assert_says(VERDICTS, f"it recovers {percent(none['gt_recovery_encoder'].max())} % at most")


def test_encoders_that_can_be_read():
    means = frame("quick_encoders").groupby("method")[["fvu", "mip_encoder"]].mean()
    less = [1 - means.loc[f"{name}_white", "fvu"] / means.loc[name, "fvu"] for name in ("jumprelu", "topk", "relu")]
    assert_says(SOLVERS, f"Whitening takes {percent(min(less), 0)} to {percent(max(less), 0)} % off the error")
    cosine, white = (short(means.loc[name, "mip_encoder"]) for name in ("topk", "topk_white"))
    assert_says(SOLVERS, f"mean best cosine falls from {cosine} to {white}")


def test_speeds_of_the_readme_are_those_of_their_processors():
    for processor in ("AVX-512 VNNI", "AVX2"):
        steps = frame(f"benchmarks/results/amd-{processor.lower().replace(' ', '-')}/steps")
        selected = (steps["method"] == "topk") & (steps["batch"] == 1024) & (steps["dtype"] == "float32")
        times = steps[selected].set_index("library")["ms_per_step"]
        libraries = ("sdlcore", "sparsify", "dictionary_learning", "saelens")
        assert_says(README, " | ".join([f"| AMD EPYC with {processor}", *(f"{times[name]:.0f}" for name in libraries)]))


def test_speeds_that_the_page_of_speed_repeats():
    folders = {name: f"benchmarks/results/amd-{name}" for name in ("avx2", "avx-512-vnni")}
    steps = {name: frame(f"{folder}/steps") for name, folder in folders.items()}
    at = {
        name: its.query("batch == 1024 and dtype == 'float32'").set_index(["library", "method", "state"])
        for name, its in steps.items()
    }
    topk = {name: its.xs(("topk", 64), level=("method", "state")) for name, its in at.items()}
    wide = topk["avx-512-vnni"]
    shares = wide.loc["sdlcore", "ms_per_step"] / wide["ms_per_step"].drop("sdlcore")
    sparsify, *others = sorted((percent(share, 0) for share in shares), key=int, reverse=True)
    assert_says(SPEED, f"takes {sparsify} % of sparsify's time, and {others[1]} to {others[0]} % of SAELens' and")
    peak = wide["peak_mb"].drop("sdlcore")
    assert_says(
        SPEED,
        f"a TopK step takes {wide.loc['sdlcore', 'peak_mb']:.0f} MiB",
        f"other libraries' steps take {peak.min():.0f} to {peak.max():.0f} MiB",
        f"call MKL, which takes {wide.loc['sdlcore', 'probe_ms']:.0f} ms",
    )
    batchtopk = at["avx2"].loc["sdlcore", "batchtopk", 64]
    product, step = batchtopk["probe_onednn_ms"], batchtopk["ms_per_step"]
    assert_says(SPEED, f"alone takes {product:.0f} ms, and BatchTopK's step {step:.0f} ms")
    spread = {name: f"{(its['ms_most'] / its['ms_least']).max():.1f}" for name, its in steps.items()}
    assert_says(
        SPEED,
        f"up to {spread['avx-512-vnni']} times as long as the fastest with AVX-512 VNNI, and up to "
        f"{spread['avx2']} times with AVX2",
    )
    pages = {name: (REPOSITORY / folder / "README.md").read_text() for name, folder in folders.items()}
    ours, sparsify = re.search(r"of that run took (\d+) ms, and sparsify's (\d+) ms", pages["avx2"]).groups()
    share = int(sparsify) / int(ours)
    assert_says(SPEED, f"TopK took {ours} ms and sparsify {sparsify} ms, {share:.1f} times ours")
    assert_says(README, f"gave {ours} ms, and {sparsify} ms for sparsify ({share:.1f} times ours)")
    for (name, page), day in zip(pages.items(), (29, 28), strict=True):
        assert f"- Date: 2026-11-{day} " in page, name
        for version in ("dictionary-learning 0.1.0", "eai-sparsify 1.3.3", "sae-lens 6.54.12", "torch 2.13.0"):
            assert version in page, name
    assert_says(
        SPEED, "race: 28 November 2026. AVX2: 29 November 2026. Both: SAELens 6.54.12, dictionary_learning 0.1.0"
    )


def test_times_of_codes_by_search_are_those_of_the_table():
    rows = frame("benchmarks/results/amd-avx-512-vnni/codes_by_search")
    times = rows.pivot(index="latents", columns="codes", values="microseconds")
    for latents, its in times.iterrows():
        cells = (f"{its[codes]:.3g}" for codes in ("topk", "posterior", "omp", "gradient_pursuit"))
        assert_says(SPEED, " | ".join([f"| {latents:,}", *cells]))
    least, middle, most = (f"{times['posterior'][latents]:.3g}" for latents in (256, 4096, 16_000))
    longer = times.drop(columns="topk").div(times["topk"], axis=0).to_numpy()
    assert (round(longer.min()), round(longer.max())) == (5, 13)
    assert_says(SPEED, "5 to 13 times as long as the encoder of TopK")
    assert_says(
        BETTER_CODES,
        f"posterior codes take {least} µs a sample at 256 latents, {middle} at 4,096 and {most} at 16,000, which is "
        "5 to 13 times",
    )


def test_better_codes_on_a_language_model_and_the_time_of_fitting_an_encoder():
    real = frame("posterior_real").groupby(["layer", "rows", "codes"])[["l0", "fvu"]].mean().unstack()
    logistic, trained, omp = (
        f"{short(real['fvu', codes].min())} to {short(real['fvu', codes].max())}"
        for codes in ("logistic encoder", "trained encoder, equal L0", "OMP with a threshold")
    )
    assert_says(
        BETTER_CODES,
        f"It leaves {logistic} of the variance; trained encoders leave {trained} at about the same L0, and OMP leaves "
        f"{omp}",
    )
    minutes = frame("posterior_rows_and_codes").query("codes.str.endswith('four times the samples')")
    minutes = minutes["tuning_seconds"] / 60
    assert_says(BETTER_CODES, f"{minutes.min():.0f} to {minutes.max():.0f} minutes of processor time for 4 million")


def test_times_of_other_methods_are_those_of_the_table():
    names = {"hierarchical": "HierarchicalTopK", "ortsae": "OrtSAE", "ra_sae": "RA-SAE", "lista": "LISTA"}
    rows = frame("speed_step_ratios").set_index(["method", "instructions"])
    for method in rows.index.unique("method"):
        cells = []
        for row in (rows.loc[method, "AVX512"], rows.loc[method, "AVX2"]):
            median, least, most = (f"{row[key]:#.3g}" for key in ("ratio", "least", "most"))
            cells += [median, f"{least} to {most}"]
        assert_says(SPEED, f"| {names.get(method, 'matching pursuit')} | {' | '.join(cells)} |")


def test_shares_that_principal_directions_leave_are_those_of_the_table():
    rows = frame("speed_skipping")
    rows = rows[rows["bound"] == "principal directions"].set_index(["source", "cost"])["left"]
    best = {
        "smollm2": (0.5, "half of the directions leave"),
        "fashion_clip": (0.25, "a quarter leaves"),
        "lrb": (0.75, "three quarters leave"),
    }
    for source, (cost, text) in best.items():
        work = rows[source].index + (1 - rows[source].index) * rows[source]
        assert work.idxmin() == cost
        assert_says("docs/speed.md", f"{100 * (1 - work.min()):.0f} %", f"{text} {100 * rows[source][cost]:.0f} %")
