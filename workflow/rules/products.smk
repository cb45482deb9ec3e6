# Tables and figures. The rule make_NAME makes one; the target NAME also includes the files of its runs.
for product_name, product in PRODUCTS.items():

    rule:
        name:
            f"make_{product_name}"
        input:
            product.inputs(FILES),
        output:
            [shown(file, product_name, product.describe(), "product") for file in product.outputs(FILES)],
        log:
            f"<logs>/products/{product_name}.log",
        benchmark:
            f"<logs>/products/{product_name}.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=product.memory,
            runtime=product.minutes,
        params:
            name=product_name,
            product=f"{type(product).__module__}.{type(product).__name__}",
            settings=product_settings(product_name),
            study=product_study(product_name),
            divided_by=product_divided_by(product_name),
            number=NUMBERS["products"],
        shell:
            '$PYTHON "$SCRIPTS"/product.py --name {params.name} --product {params.product} --settings {params.settings:q}'
            ' --study {params.study:q} --divided-by {params.divided_by:q} --paper "$PAPER" > {log:q} 2>&1'

    rule:
        name:
            product_name
        input:
            product_files(product_name),

    say_what_it_makes(product_name, product.describe())
    say_what_it_makes(f"make_{product_name}", f"{product_name} without the files of its runs")
