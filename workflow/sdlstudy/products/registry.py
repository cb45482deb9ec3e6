"""Find all products of this package. A new product needs no entry in a list."""

import re
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from sdlstudy import products
from sdlstudy.products.product import Product


@cache
def registered() -> dict[str, type[Product]]:
    """Return the classes of products by their keys in a configuration, such as ``figures.figure4``, in order."""
    for module in iter_modules(products.__path__):
        import_module(f"{products.__name__}.{module.name}")
    classes = {key: cls for cls in _below(Product) for key in vars(cls).get("keys", ())}
    return dict(sorted(classes.items(), key=lambda item: _by_number(item[0])))


def _below(cls: type[Product]) -> list[type[Product]]:
    return [subclass for child in cls.__subclasses__() for subclass in (child, *_below(child))]


def _by_number(key: str) -> list[tuple[str, int]]:
    """Return a sort key that orders figure9 before figure10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)", key)]
