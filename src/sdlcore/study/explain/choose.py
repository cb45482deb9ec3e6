"""Write the list of the next stage: the protocols that came nearest in a stage before.

python -m sdlcore.study.explain.choose --table results/explain/tables/explain.csv --stage stage1a --number 120
--output config/explain/stage1b.csv
"""

from pathlib import Path

from sdlcore.pipeline import cli
from sdlcore.study.explain.protocols import Protocol, write_protocols
from sdlcore.study.results.tables import read_csv


def main(*, table: Path, stage: str, number: int, output: Path) -> None:
    """
    Args:
        table: what the stages before found, the table of `snakemake explain`
        stage: the stage to choose from
        number: of protocols
        output: CSV file to write
    """
    found = read_csv(table)
    chosen = found[found["stage"] == stage].sort_values(["distance", "number"]).head(number)
    if len(chosen) < number:
        raise ValueError(f"{table}: stage {stage} has {len(chosen)} protocols, expected at least {number}")
    names = list(Protocol.model_fields)
    write_protocols(output, [Protocol(**{name: row[name] for name in names}) for row in chosen.to_dict("records")])


if __name__ == "__main__":
    cli(main)
