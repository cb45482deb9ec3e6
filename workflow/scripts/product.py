"""Make one table or figure."""

from importlib import import_module
from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlstudy.products.product import Product
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study


def main(
    *, name: str, product: str, settings: dict[str, Any], study: dict[str, Any], divided_by: dict[str, str], paper: Path
) -> None:
    """
    Args:
        name: name of the table or figure
        product: its class, with the module
        settings: its settings in the configuration
        study: the part of the study that it depends on
        divided_by: source -> the anchoring that decides which features count as given in runs without anchors
        paper: folder with the paper's own tables
    """
    module, _, kind = product.rpartition(".")
    instance = getattr(import_module(module), kind).model_validate(settings)
    if not isinstance(instance, Product):
        raise ValueError(f"{product}: not a product")
    instance.named(name).make(Files(Study.model_validate(study), divided_by, str(paper)))


if __name__ == "__main__":
    cli(main)
