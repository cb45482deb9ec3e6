# One self-contained page with everything that the configuration makes.


rule report:
    """Write one page with everything that the configuration makes"""
    input:
        parts=report_inputs(),
        # an input, because code_digest covers only imported Python modules
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
        published=PUBLISHED_FILES,
        code=lambda wildcards: code_digest("report"),
    shell:
        'python "$SCRIPTS"/report.py --config {params.config:q} --published {params.published:q} --output {output:q} > {log:q} 2>&1'
