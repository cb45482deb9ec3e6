import numpy as np
import pandas as pd

from sdlcore.study.explain.protocols import draw
from sdlcore.study.explain.scales import agreement
from tests.study.explain.test_distance import look


def test_scales_that_rank_alike_agree():
    drawn = draw(4, 0)
    values = [0.1, 0.2, 0.3, 0.4]

    def stage(order, fvus):
        protocols = [drawn[i] for i in order]
        rows = [look(80) | {"number": n, "fvu": fvu} for n, fvu in enumerate(fvus)]
        rows.append(look(40) | {"number": 0, "fvu": 9.0})
        distance = pd.DataFrame({"number": range(len(order)), "distance": [values[i] for i in order]})
        return protocols, pd.DataFrame(rows), distance

    table = agreement(stage([0, 1, 2, 3], [1, 2, 3, 4]), stage([3, 1, 0], [1, 2, 3])).set_index("quantity")
    assert table.loc["distance", ["protocols", "rank_correlation"]].tolist() == [3, 1]
    assert table.loc["fvu", ["method", "protocols", "rank_correlation"]].tolist() == ["topk", 3, -1]
    assert np.isnan(table.loc["l0_0", "rank_correlation"]), "nothing to rank"
