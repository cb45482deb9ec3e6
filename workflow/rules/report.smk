# One self-contained page with everything that the configuration makes.


rule report:
    """Write one page with everything that the configuration makes"""
    input:
        parts=report_inputs(),
        template=in_checkout("workflow/sdlstudy/report/page.html.j2"),
    output:
        "<results>/report.html",
    log:
        "<logs>/report.log",
    benchmark:
        "<logs>/report.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        config=lambda wildcards: as_json(study.model_dump()),
        number=NUMBERS["products"],
    shell:
        'python "$SCRIPTS"/report.py --config {params.config:q} --files {input.parts:q} --output {output:q} > {log:q} 2>&1'
