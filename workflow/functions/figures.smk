# Figures, and the runs that they show.
from sdlcore.study.configuration.run_keys import (
    TOP_IMAGES,
    convergence_cells,
    figure4_cells,
    figure5_cells,
    figure6_cells,
    is_solver,
    top_images_cell,
)


def figure_files(figure):
    files = [f"{RESULTS}/figures/{figure}.{suffix}" for suffix in ("png", "pdf")]
    if figure in BENCH_FIGURES:
        files.append(f"{RESULTS}/tables/{figure}.csv")
        files += [f"{run_directory(cell)}/{file}" for cell in BENCH_FIGURES[figure](config) for file in TRAINED_FILES]
    if figure == "figure6":
        files += [f"{RESULTS}/tables/figure6.csv", *run_files(figure6_runs("with") + figure6_runs("without"))]
    if figure in TOP_IMAGES:
        files += [f"{RESULTS}/tables/{figure}.csv", *run_files([top_images_run(figure)])]
    return files


# figures of a bench that judge dictionaries themselves, or their histories, so that their runs need no metrics
BENCH_FIGURES = {
    "figure4": figure4_cells,
    "figure5": figure5_cells,
    "convergence": convergence_cells,
}


def judged_runs(figure):
    """What a figure of a bench is made from, run by run."""
    return [
        {
            "method": cell.method,
            "seed": cell.seed,
            "model": f"{run_directory(cell)}/model.safetensors",
            "store": store("test")(cell),
            "references": references_file(cell),
        }
        for cell in BENCH_FIGURES[figure](config)
    ]


def judged_files(figure):
    return list(dict.fromkeys(run[file] for run in judged_runs(figure) for file in ("model", "store", "references")))


TOP_IMAGES_ASKED = [figure for figure in TOP_IMAGES if figure in config["figures"]]


def top_images_run(figure):
    return run_directory(top_images_cell(config, figure))


def top_images_files(figure):
    """The means of classes and the anchors that a figure's latents are chosen by, as the run is evaluated by."""
    cell = top_images_cell(config, figure)
    return {"references": references_file(cell), "anchors": evaluate_anchors(cell)}


def top_images_settings(figure):
    asked, cell = config["figures"][figure], top_images_cell(config, figure)
    shown = {name: getattr(cell, name) for name in ("source", "method", "anchoring", "seed")}
    return shown | {name: asked[name] for name in ("rows", "images")}


def image_folder(run, part):
    """Where the images of a run's store lie, which it names by their paths from there."""
    train, test = clip_folders(run)
    return test if part == "test" and test else train


def figure6_runs(side):
    return [run_directory(cell) for cell in figure6_cells(config, side)]


def figure6_labels(wildcards):
    """Return what the legend of figure 6 says, out of the methods' settings."""
    asked = config["figures"]["figure6"]
    every = config["methods"][asked["with"]].get("resample_every")
    return as_json(
        {
            "with": f"resampled every {every} steps" if every else asked["with"],
            "without": "not resampled",
            "method": asked["without"],
            "source": asked["source"],
        }
    )


def convergence_runs():
    """The runs of the figure of convergence, as its script takes them."""
    return [
        {
            "method": cell.method,
            "protocol": None if is_solver(config, cell.method) else cell.protocol,
            "seed": cell.seed,
            "history": f"{run_directory(cell)}/history.csv",
        }
        for cell in convergence_cells(config)
    ]
