"""Format the audit as Markdown."""

import pandas as pd

from sdlcore.study.theory.claim import BOTH, LATER, VERDICTS, VERSION_3

CAPTION = (
    "What the theorems and examples of the paper claim, each checked by computation in float64. “Version” says "
    "whether version 3 claims it, a later revision, or both. A claim holds where no "
    "instance contradicts it; holds with a further condition where some do, but none in the form under “Condition”; "
    "fails as stated otherwise. Instances are random problems of a few features and dictionaries for them, and what "
    "was built to contradict. Verdicts follow from the counts."
)


OF = {VERSION_3: "version 3 alone", LATER: "the later revision alone", BOTH: "both versions"}


def counts_sentence(frame: pd.DataFrame) -> str:
    """Return how many claims have which verdict, and how many are of which version."""
    counts = [f"{(frame['verdict'] == verdict).sum()} {verdict}" for verdict in VERDICTS]
    versions = [f"{(frame['version'] == version).sum()} of {name}" for version, name in OF.items()]
    return f"{len(frame)} claims: {', '.join(counts)}. {', '.join(versions)}."


def theory_markdown(frame: pd.DataFrame) -> str:
    """Return a summary table and then a section for each claim, as GitHub-flavoured Markdown.

    Parameters
    ----------
    frame
        As `audit.claims_frame` returns it.
    """
    summary = pd.DataFrame(
        [
            (
                row["statement"],
                row["version"],
                row["later_statement"],
                row["claim"].replace("|", "\\|"),
                row["verdict"],
                f"{row['violations']} of {row['instances']}",
            )
            for _, row in frame.iterrows()
        ],
        columns=["Statement", "Version", "Later revision", "Claim", "Verdict", "Violated"],
    ).to_markdown(index=False, disable_numparse=True)
    sections = []
    for statement, rows in frame.groupby("statement", sort=False):
        sections.append(f"## {statement}")
        sections += [_section(row) for _, row in rows.iterrows()]
    return "\n\n".join(["# The theorems, checked", CAPTION, counts_sentence(frame), summary, *sections]) + "\n"


def _there(row: pd.Series) -> str:
    """Return where the later revision has it, if by another number."""
    return f" (there {row['later_statement']})" if row["later_statement"] not in ("", row["statement"]) else ""


def _section(row: pd.Series) -> str:
    lines = [
        f"**{row['claim']}** *{row['verdict'].capitalize()}.* Of {OF[row['version']]}{_there(row)}.",
        f"- Checked: {row['checked']} Violated in {row['violations']} of {row['instances']} instances.",
        f"- Observed: {row['observed']}",
    ]
    if row["counterexample"]:
        lines.append(f"- Counterexample: {row['counterexample']}")
    if row["condition"]:
        lines.append(
            f"- Condition: {row['condition']} Violated in {row['condition_violations']} of "
            f"{row['condition_instances']} instances."
        )
    return f"{lines[0]}\n\n" + "\n".join(lines[1:])
