# Checks of the paper's theorems by computation. They use no runs, and have to be a target of their own.

THEORY = "The paper's theorems, checked by computation"


rule theory:
    """Check the paper's theorems by computation"""
    output:
        csv=shown("<results>/tables/theory.csv", "theory", THEORY, "theory"),
        markdown=shown("<results>/tables/theory.md", "theory", THEORY, "theory"),
    log:
        "<logs>/tables/theory.log",
    benchmark:
        "<logs>/tables/theory.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        number=NUMBERS["theory"],
    shell:
        'python "$SCRIPTS"/theory.py --csv {output.csv:q} --markdown {output.markdown:q} > {log:q} 2>&1'
