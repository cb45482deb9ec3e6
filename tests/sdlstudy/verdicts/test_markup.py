"""Verdicts in readable form, and their parsing from files."""

from functools import cache

from sdlstudy.results.tables import read_csv, write_csv
from sdlstudy.verdicts.claim_rule import claims
from sdlstudy.verdicts.judging import UNDECIDED, VERDICTS, verdicts
from sdlstudy.verdicts.markup import (
    CLAIM_VERDICTS,
    claim_groups,
    claims_markdown,
    counts,
    counts_sentence,
    in_short,
    verdict_table,
    verdicts_markdown,
)
from tests.conftest import REPOSITORY
from tests.sdlstudy.verdicts.synthetic import CLAIMS, evidence, papers_numbers, papers_runs


def verdicts_and_claims(runs):
    judge = evidence(runs)
    return verdicts(papers_numbers(), judge), claims(papers_numbers(), judge, CLAIMS)


@cache
def verdicts_of_table_1(seeds_differ=False):
    """Return verdicts on runs of Table 1 with the paper's numbers, plus the seed if asked. Do not change the frames."""
    return verdicts_and_claims({"table1": papers_runs(lambda row, seed: row["paper"] + seeds_differ * seed)["table1"]})


@cache
def verdicts_of_all_tables():
    return verdicts_and_claims(papers_runs())


def test_counts_leave_none_out():
    numbers, _ = verdicts_of_table_1()
    verdict_counts = dict(counts(numbers))
    assert list(verdict_counts) == list(VERDICTS)
    assert sum(verdict_counts.values()) == 220
    sentence = counts_sentence(numbers)
    assert all(f"{count} {verdict}" in sentence for verdict, count in verdict_counts.items())
    assert " of them a 0)" in sentence
    judged = verdict_counts["inconsistent in the paper"]
    assert f" Of the 8 that are inconsistent, {8 - judged} were not run." in sentence
    start = (
        "8 of the paper’s 220 numbers are inconsistent under every reading: "
        "3 different from the same setting in another table, 5 a share that is not a whole number of features, "
        "although an average over runs may be. "
        "By runs, under the reading of the later revision: "
    )
    assert sentence.startswith(start)
    everything, _ = verdicts_of_all_tables()
    assert counts_sentence(everything) == (
        f"{start}212 reproduced (36 of them a 0), 0 not reproduced, 8 inconsistent in the paper, "
        "0 not run under this reading, 0 not run at this scale."
    )


def test_counts_say_how_many_readings_were_tried():
    runs = papers_runs(lambda row, seed: 0.5 * row["paper"])["table1"].assign(gt_recovery_decoder_unanchored=0.8763)
    numbers = verdicts(papers_numbers(), evidence({"table1": runs}))
    others = numbers[numbers["verdict"].isin(["not reproduced", "not run under this reading"])]
    reproduced, most = others["reproduced_under"].ne("").sum(), others["readings"].max()
    assert reproduced
    assert (
        f"Of the {len(others)} that are not reproduced or not run under this reading, {reproduced} are reproduced "
        f"under another one, of up to {most} readings tried for each: "
    ) in counts_sentence(numbers)
    none = counts_sentence(numbers.assign(reproduced_under=""))
    assert none.endswith(f"0 are reproduced under another one, of up to {most} readings tried for each.")
    why = verdict_table(numbers).frame["Why"][others.index]
    assert (why.str.contains("readings that reproduce it: none") == others["reproduced_under"].eq("")).all()


def test_counts_say_which_numbers_other_readings_reproduce():
    numbers = read_csv(REPOSITORY / "resources/kept/paper_verdicts.csv")
    assert counts_sentence(numbers).endswith(
        "92 are reproduced under another one, of up to 32 readings tried for each: 49 MIP, 33 recoveries of 0 %, "
        "8 recoveries of 98 % or more, 2 other recoveries."
    )


def test_counts_say_how_many_of_the_reproduced_are_noughts():
    numbers = verdicts(papers_numbers(), evidence(papers_runs(lambda row, seed: 0.0)))
    good = numbers.loc[numbers["verdict"] == "reproduced", "paper"]
    assert f"revision: {len(good)} reproduced ({good.eq(0).sum()} of them a 0), " in counts_sentence(numbers)
    nothing = numbers.assign(verdict="not reproduced")
    assert "revision: 0 reproduced, 220 not reproduced, " in counts_sentence(nothing)


def test_numbers_that_the_decoder_has_are_counted():
    runs = papers_runs(lambda row, seed: 0.0)["table1"].assign(gt_recovery_decoder_tau95=1.0)
    numbers, claimed = verdicts_and_claims({"table1": runs})
    wrong = numbers["verdict"].eq("not reproduced")
    phrase = "of the numbers that we could not reproduce match our decoders instead of our encoders"
    assert in_short(numbers, claimed)[2].startswith(f"0 {phrase}")
    numbers.loc[wrong, "reproduced_under"] = "version 3; decoder, cosines, tau = 0.9"
    mip = (wrong & numbers["number"].eq("mip")).sum()
    assert in_short(numbers, claimed)[2] == (
        f"{wrong.sum()} {phrase}, under one reading or another; {mip} of these are MIPs."
    )
    none = numbers.assign(verdict=numbers["verdict"].replace("not reproduced", "reproduced"))
    assert not any(phrase in sentence for sentence in in_short(none, claimed))


def test_methods_with_a_penalty_are_compared_with_the_papers_sparsity_beside():
    runs = papers_runs(lambda row, seed: 48.0)["table1"].assign(gt_recovery_decoder_tau95=1.0)
    numbers, claimed = verdicts_and_claims({"table1": runs})
    sentence = in_short(numbers, claimed)[1]
    assert sentence.endswith("fail in the paper (our L0: 48; the paper’s: 1572 to 2787).")
    assert in_short(numbers.assign(ours=float("nan")), claimed)[1].endswith("fail in the paper.")


def statements(groups):
    return {(group.quote, row.what): row for group in groups for row in group.statements}


def test_claims_are_grouped_by_their_words_with_every_verdict_seed_and_number():
    _, claimed = verdicts_of_table_1(seeds_differ=True)
    groups = claim_groups(claimed, any_scale=True)
    assert [(group.quote, group.section) for group in groups] == list(
        dict.fromkeys(zip(claimed["quote"], claimed["section"], strict=True))
    )
    rows, at_scale = statements(groups), statements(claim_groups(claimed))
    assert len(rows) == len(claimed)
    papers_verdicts = {"say so": "borne out", "say otherwise": "not borne out", "have no number": "no number"}
    for claim in claimed.to_dict("records"):
        key = claim["quote"], claim["measured"]
        row = rows[key]
        assert row.verdict == claim["verdict"]
        assert row.verdict_text.startswith(claim["here"] or "not run")
        by = f"; {claim['seeds']} seed{'s' if claim['seeds'] > 1 else ''}"
        assert (by in row.verdict_text) == (claim["here"] not in ("", "partly run"))
        assert at_scale[key].verdict_text == row.verdict_text.replace("partly run", "not run")
        assert claim["paper"].startswith(papers_verdicts.get(row.papers_verdict, row.papers_verdict))
        for part in (claim["evidence"], claim["paper"]):
            assert all(piece in " ".join([*row.ours, *row.paper]) for piece in part.split(". ") if part)
    assert {row.verdict_text for row in rows.values()} >= {"not run", "partly run"}
    _, nothing = verdicts_and_claims({})
    assert {row.verdict_text for row in statements(claim_groups(nothing)).values()} == {"not run"}


def test_a_claim_has_the_verdict_of_its_statements_or_is_mixed():
    _, some = verdicts_of_table_1()
    groups = claim_groups(some, any_scale=True)
    for group in groups:
        for verdict, statement_verdicts in (
            (group.verdict, {row.verdict_text.partition(" (")[0] for row in group.statements}),
            (group.papers_verdict, {row.papers_verdict for row in group.statements}),
        ):
            assert verdict == (statement_verdicts.pop() if len(statement_verdicts) == 1 else "mixed")
        assert group.verdict in CLAIM_VERDICTS
    assert next(group for group in groups if len(group.statements) > 3).verdict == "mixed"


def test_another_protocol_than_the_papers_is_named():
    _, judged = verdicts_and_claims({"table1": papers_runs()["table1"].assign(protocol="best")})
    verdict_texts = {row.verdict_text for row in statements(claim_groups(judged, any_scale=True)).values()} - {
        "not run",
        "partly run",
    }
    assert verdict_texts
    assert all("; best" in text for text in verdict_texts)


def test_what_runs_say_in_short_is_what_they_have():
    numbers, claims = (read_csv(REPOSITORY / f"resources/kept/paper_{name}.csv") for name in ("verdicts", "claims"))
    summary = in_short(numbers, claims)
    judged = ["reproduced", "not reproduced", "inconsistent in the paper"]
    rows = numbers[numbers["number"].str.startswith("gt_recovery") & numbers["verdict"].isin(judged)]
    plain = rows[rows["anchoring"].eq("none")]
    ours, papers = (f"{rounded(values.min())} to {rounded(values.max())}" for values in (plain["ours"], plain["paper"]))
    assert summary[0] == (
        f"By the paper’s own measure, our encoders recover {ours} % of the features without anchors; the paper reports "
        f"{papers} %."
    )
    assert all(len(sentence.split()) <= 35 for sentence in summary)
    claims = claims.set_index("claim")
    for name, words in {
        "penalised_fail_decoder": "{} % of the features",
        "anchoring_recovery_not_given": "{} points in the encoder",
        "anchoring_recovery_decoder_not_given": "{} points in the decoder",
    }.items():
        means, ran = claims.loc[name, "means"], claims.loc[name, "verdict"] not in UNDECIDED
        means = " to ".join(rounded(float(mean)) for mean in str(means).split(" to "))
        assert any(f" {words.format(means)}" in sentence for sentence in summary) == ran


def rounded(number):
    return f"{number:.3g}".replace("-", "−")


def test_the_summary_omits_tables_without_runs():
    assert in_short(*verdicts_and_claims({})) == []
    encoders_alone = in_short(*verdicts_of_all_tables())
    assert [sentence.partition(",")[0] for sentence in encoders_alone] == ["By the paper’s own measure"]


def test_files_say_the_same_as_frames(tmp_path):
    pages = verdicts_markdown, claims_markdown
    for name, frame, page in zip(("verdicts", "claims"), verdicts_of_table_1(), pages, strict=True):
        write_csv(tmp_path / f"{name}.csv", frame)
        again = read_csv(tmp_path / f"{name}.csv")
        assert page(again) == page(frame)
        assert list(again.columns) == list(frame.columns)
    assert claim_groups(again) == claim_groups(frame)


def test_markdown_has_a_line_for_each_and_whole_cells():
    numbers, claimed = verdicts_of_table_1(seeds_differ=True)
    groups = claim_groups(claimed)
    pages = (verdicts_markdown(numbers), numbers, 1), (claims_markdown(claimed), claimed, len(groups))
    for text, frame, tables in pages:
        table = [line for line in text.splitlines() if line.startswith("|")]
        assert len(table) == len(frame) + 2 * tables
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "| Table 7, TopK SAE, with anchors, k = 128" in verdicts_markdown(numbers)


def test_the_table_has_the_papers_units_and_nothing_for_missing_numbers():
    frame = verdict_table(verdicts_of_table_1()[0]).frame.set_index(["Row", "Number"])
    topk = frame.loc[("Table 1, BatchTopK SAE, without anchors", "GT recovery (%)")]
    assert (topk["Paper"], topk["Ours"], topk["Interval"]) == ("84.80", "84.80", "82.80 to 86.80")
    none = frame.loc[("Table 2, TopK SAE, without anchors", "MIP")]
    assert (none["Paper"], none["Ours"], none["Interval"]) == ("0.517", "–", "")
