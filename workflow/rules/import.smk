# One run whose dictionary was trained by other software (docs/exporting.md).
rule import_dictionary:
    """Make one run by importing a dictionary from a file"""
    input:
        store=store("train"),
        imported=imported_files,
        watch=watch_references,
    output:
        model="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/model.safetensors",
        config="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/config.json",
        history="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/history.csv",
    log:
        "<logs>/import_dictionary/{source}.{method}.{protocol}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/import_dictionary/{source}.{method}.{protocol}.{anchoring}.seed{seed}.tsv"
    wildcard_constraints:
        method=pattern(IMPORTED),
        anchoring="none",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=run_settings_given,
        number=NUMBERS["import"],
    shell:
        '$PYTHON "$SCRIPTS"/import_dictionary.py --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}'
        " --store {input.store} --watch {input.watch}"
        ' --out "$(dirname {output.model:q})" > {log} 2>&1'
