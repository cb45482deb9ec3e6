# The files, settings and digest of each table and figure. `product_files` decides what `snakemake NAME` makes.
PRODUCTS = study.products()
# those that are made together; others have to be asked for by name
WHOLE = [name for name, product in PRODUCTS.items() if not product.alone]


def product_log(name, ending="log"):
    """Where a product's log lies: beside those of the others of its kind."""
    folder = Path(PRODUCTS[name].outputs(name, FILES)[0]).parent.name
    return f"<logs>/{folder}/{name}.{ending}"


SHOWN = {".png": "picture", ".md": "text", ".csv": "numbers"}


def shown(file, name, title, caption):
    """Have `snakemake --report` list a file of a product, but for copies in formats for print."""
    if Path(file).suffix not in SHOWN:
        return file
    labels = {"name": Path(file).stem, "of": name, "shows": title, "as": SHOWN[Path(file).suffix]}
    category = Path(file).parent.name.capitalize()
    return report(file, caption=f"../report/{caption}.rst", category=category, labels=labels)


def product_outputs(name):
    product = PRODUCTS[name]
    return [shown(file, name, product.describe(name), "product") for file in product.outputs(name, FILES)]


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


def say_what_it_makes(rule, text):
    """Give a rule a line in `snakemake --list`, unless who imports the workflow leaves the rule out."""
    name = workflow.modifier.modify_rulename(rule)
    if workflow.is_rule(name):
        workflow.get_rule(name).docstring = text
