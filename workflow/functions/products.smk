# The files, settings and digest of each table and figure. `product_files` decides what `snakemake NAME` makes.
PRODUCTS = study.products()
# those that are made together; others have to be asked for by name
WHOLE = [name for name, product in PRODUCTS.items() if not product.alone]


def product_log(name, ending="log"):
    """Where a product's log lies: beside those of the others of its kind."""
    folder = Path(PRODUCTS[name].outputs(name, FILES)[0]).parent.name
    return f"<logs>/{folder}/{name}.{ending}"


# what follows is asked for as a rule needs it, since what runs one job on a node reads all rules
def product_settings(name):
    return lambda wildcards: as_json(PRODUCTS[name].model_dump())


def product_study(name):
    """The part of the study that a product hangs on, so that other changes do not remake it."""
    shared = {"name", "seeds", "sources", "methods", "protocols", "anchorings"}
    return lambda wildcards: as_json(PRODUCTS[name].used(study).model_dump(include=shared))


def product_divided_by(name):
    """The anchorings that divide the features of its runs without anchors."""
    return lambda wildcards: as_json(
        {
            source: FILES.divided_by[source]
            for source in PRODUCTS[name].used(study).all_sources()
            if source in FILES.divided_by
        }
    )


def product_code(name):
    """The digest of what makes a product: an edit of another one's file remakes nothing."""
    return lambda wildcards: code_digest("product", type(PRODUCTS[name]).__module__)


def product_files(name):
    """A product, and what is beside it: files of its runs, which Snakemake would not miss while the product is there."""
    product = PRODUCTS[name]
    files = [*product.outputs(name, FILES), *product.beside(name, FILES)]
    for other in product.companions(name, study):
        files += PRODUCTS[other].outputs(other, FILES)
    return list(dict.fromkeys(files))
