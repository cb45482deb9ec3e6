# An index that joins the parts of a store.


rule unite_shards:
    """Write the index that joins the parts of a store"""
    input:
        shard_files,
    output:
        "<results>/activations/{source}/{split}.h5",
    log:
        "<logs>/unite_shards/{source}.{split}.log",
    benchmark:
        "<logs>/unite_shards/{source}.{split}.tsv"
    wildcard_constraints:
        source=pattern(SHARDED),
        split="train|test",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        number=NUMBERS["activations"],
    shell:
        'python "$SCRIPTS"/unite.py --shards {input:q} --index {output:q} > {log:q} 2>&1'
