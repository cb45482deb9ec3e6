#!/bin/sh
# All runs of docs/results/explain/README.md, the most telling first; a finished run is skipped, an unfinished one
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

# the complete recipe (candidate 1) at lr 1e-3
one topk_lr1e-3 --method topk --lr 1e-3 --epochs 2
one transcoder_lr1e-3 --method transcoder --lr 1e-3 --epochs 1
one relu_lr1e-3 --method relu --lr 1e-3 --epochs 0.8
one crosscoder_lr1e-3 --method crosscoder --lr 1e-3 --epochs 0.8
# k = 128 (candidate 5)
one topk_lr1e-3_k128 --method topk --lr 1e-3 --k 128 --epochs 2
# Table 7's k = 32, to one epoch
one topk_lr1e-3_k32 --method topk --lr 1e-3 --k 32 --epochs 1
# at lr 3e-4
one relu_lr3e-4 --method relu --lr 3e-4 --epochs 1
one topk_lr3e-4 --method topk --lr 3e-4 --epochs 3
one transcoder_lr3e-4 --method transcoder --lr 3e-4 --epochs 3
one crosscoder_lr3e-4 --method crosscoder --lr 3e-4 --epochs 3
# a tied start with biases (candidate 3): protocol 56 of the search, at its own rate and at 3e-3
tied="--start tied --init-scale 0.3 --batch 1024 --beta 0 --clip 1e9 --l1 0"
for method in topk transcoder; do
    one "${method}_tied_7e-3" --method $method $tied --lr 7e-3 --epochs 2.9 --every 50
    one "${method}_tied_3e-3" --method $method $tied --lr 3e-3 --epochs 7 --every 220
done
# two more seeds of the winner, and a crosscoder that may keep more latents
for seed in 1 2; do
    one "topk_lr1e-3_seed$seed" --method topk --lr 1e-3 --epochs 0.8 --seed "$seed"
    one "transcoder_lr1e-3_seed$seed" --method transcoder --lr 1e-3 --epochs 0.8 --seed "$seed"
done
one crosscoder_lr1e-3_k128 --method crosscoder --lr 1e-3 --k 128 --epochs 0.8
# at his own rate and schedule
for method in topk transcoder; do
    one "${method}_lr1e-4" --method $method --lr 1e-4 --cosine 10 --epochs 10 --every 625
done
