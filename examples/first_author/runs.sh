#!/bin/sh
# All runs of docs/results/explain/first-author.md, the most telling first; a finished run is skipped, an unfinished one
# starts again. From the repository's root:  nice -n 19 sh examples/first_author/runs.sh
out=docs/results/explain/first_author
mkdir -p "$out"
export OMP_NUM_THREADS=1

one() {  # NAME OPTIONS...
    file="$out/$1.csv"
    [ -e "$file" ] && return
    shift
    python -m examples.first_author.recipe "$@" --out "$file.part" && mv "$file.part" "$file"
}

for lr in 1e-3 3e-4; do
    for method in topk transcoder relu crosscoder; do
        one "${method}_lr${lr}" --method "$method" --lr "$lr" --epochs 2
    done
done
