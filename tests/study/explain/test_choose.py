import pandas as pd
import pytest

from sdlcore.study.explain.choose import main
from sdlcore.study.explain.protocols import draw, read_protocols
from sdlcore.study.results.tables import write_csv


def test_the_nearest_of_a_stage_are_written(tmp_path):
    drawn = draw(6, 0)
    distances = [0.5, 0.1, 0.3, 0.2, 0.9, 0.4]
    rows = [
        {"stage": "first", "number": i, "distance": d, **vars(p)}
        for i, (d, p) in enumerate(zip(distances, drawn, strict=True))
    ]
    rows.append({**rows[0], "stage": "other", "distance": 0.0})
    write_csv(tmp_path / "explain.csv", pd.DataFrame(rows))
    main(table=tmp_path / "explain.csv", stage="first", number=3, output=tmp_path / "next.csv")
    assert read_protocols(tmp_path / "next.csv") == [drawn[1], drawn[3], drawn[2]]
    with pytest.raises(ValueError, match="stage first has 6 protocols, expected at least 7"):
        main(table=tmp_path / "explain.csv", stage="first", number=7, output=tmp_path / "next.csv")
