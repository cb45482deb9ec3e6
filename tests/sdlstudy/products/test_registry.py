"""The registry of products."""

import subprocess
import sys

from sdlstudy.products.product import Product
from sdlstudy.products.registry import registered
from sdlstudy.products.top_images import TopImages

HEAVY = ("torch", "h5py", "seaborn", "matplotlib.pyplot")


def test_every_product_stands_under_its_keys_figures_by_number():
    products = registered()
    assert list(products) == [
        *("anchoring_map", "comparison", "discovery", "encoders"),
        *("figures.convergence", "figures.figure4", "figures.figure6", "figures.figure8"),
        *("figures.figure9", "figures.figure10"),
        *("frontier", "harder", "language_scores", "law", "probes", "solvers", "stability", "synthsaebench"),
    ]
    assert products["figures.figure9"] is products["figures.figure10"] is TopImages
    for key, cls in products.items():
        assert issubclass(cls, Product)
        assert key in cls.keys
        assert cls.title
        assert cls.__doc__


def test_to_know_them_nothing_is_loaded_that_only_makes_them():
    code = (
        "import sys\n"
        "from sdlstudy.products.registry import registered\n"
        "assert registered()\n"
        f"print(*(name for name in {HEAVY} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
