"""The table of stability over seeds."""

import numpy as np

from sdlstudy.results.tables import read_csv
from tests.sdlstudy.products import studies

W = np.eye(4, dtype=np.float32)


def test_pairs_of_seeds_have_rows_and_methods_their_means(tmp_path):
    """Two seeds agree; the third has two of four decoder columns of its own."""
    config = studies.alone({"seeds": [0, 1, 2], "stability": {"runs": {"smollm2": {"methods": ["topk_real"]}}}})
    files = config.files()
    for cell in config.stability.cells_without_metrics(config):
        decoder = W if cell.seed < 2 else np.vstack([W[:2], -W[2:]])
        studies.write_dictionary(tmp_path / files.model(cell), W, decoder)
    files = studies.make(config, "stability", tmp_path)
    rows = read_csv(tmp_path / files.table("stability")).set_index(["first", "second"])
    assert rows["decoder_0.9"].to_dict() == {(0, 1): 1, (0, 2): 0.5, (1, 2): 0.5}
    assert rows["encoder_0.9"].tolist() == [1, 1, 1]
    text = (tmp_path / files.table("stability", "md")).read_text()
    cells = [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")]
    assert cells[:5] == ["smollm2", "TopK SAE", "3", "0.667 (0.500 to 1.000)", "0.667 (0.500 to 1.000)"]
    assert cells[-1] == "1.000 (1.000 to 1.000)"
