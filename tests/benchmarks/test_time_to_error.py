"""When trainings reach an error."""

import pandas as pd

from benchmarks.time_to_error import main


def test_the_first_row_at_the_error_and_about_the_last_l0_counts_and_other_sources_stay(tmp_path):
    for method, errors in {"fast": [0.2, 0.2, 0.3], "never": [0.9, 0.8, 0.7]}.items():
        run = tmp_path / "results/runs/bench" / method / "best/none/seed3"
        run.mkdir(parents=True)
        steps = [20, 40, 60]
        table = {"step": steps, "fvu": errors, "l0": [13.0, 12.0, 10.0], "seconds": [1.0, 2.0, 3.0]}
        pd.DataFrame(table).to_csv(run / "history.csv", index=False)
    csv = tmp_path / "times.csv"
    csv.write_text("ground,fvu,method,seed,steps,seconds\nother,0.2,fast,3,20,1\n")
    for _ in range(2):  # the second call replaces its own rows
        main([str(tmp_path / "results"), "--source", "bench", "--fvu", "0.2", "--csv", str(csv)])
    times = pd.read_csv(csv).set_index(["ground", "method"])[["steps", "seconds"]]
    assert times.loc[("bench", "fast")].tolist() == [40, 2]
    assert times.loc[("bench", "never")].isna().all()
    assert times.loc[("other", "fast")].tolist() == [20, 1]
    assert len(times) == 3
