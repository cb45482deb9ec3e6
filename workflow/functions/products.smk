# The files and settings of each table and figure. `product_files` decides what `snakemake NAME` makes.
PRODUCTS = study.products()
# products that the target all makes; the others have to be named as targets
WHOLE = [name for name, product in PRODUCTS.items() if not product.alone]

SHOWN = {".png": "picture", ".md": "text", ".csv": "numbers"}


def shown(file, name, title, caption):
    """Include a product's file in `snakemake --report`, unless it is a copy in a format for print."""
    if Path(file).suffix not in SHOWN:
        return file
    labels = {"name": Path(file).stem, "of": name, "shows": title, "as": SHOWN[Path(file).suffix]}
    category = Path(file).parent.name.capitalize()
    return report(file, caption=f"../report/{caption}.rst", category=category, labels=labels)


# the following are functions of wildcards, because a process that runs one job on a node reads all rules
def product_settings(name):
    return lambda wildcards: as_json(PRODUCTS[name].model_dump())


def product_study(name):
    """Return the part of the study that a product depends on, so that other changes do not remake it."""
    return lambda wildcards: as_json(PRODUCTS[name].depends_on(study))


def product_divided_by(name):
    """Return source -> the anchoring that decides which features count as given in runs without anchors."""
    return lambda wildcards: as_json(
        {
            source: FILES.divided_by[source]
            for source in PRODUCTS[name].used(study).all_sources()
            if source in FILES.divided_by
        }
    )


def product_files(name):
    """Return a product's files and files of its runs.

    Snakemake would not replace deleted files of runs while the product exists, unless they are targets themselves."""
    product = PRODUCTS[name]
    return [*product.outputs(FILES), *product.beside(FILES)]


def say_what_it_makes(rule, text):
    """Set the description of a rule for `snakemake --list`, unless an importing workflow leaves the rule out."""
    name = workflow.modifier.modify_rulename(rule)
    if workflow.is_rule(name):
        workflow.get_rule(name).docstring = text
