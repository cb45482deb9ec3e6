#!/bin/sh
# The held-out runs of docs/results/explain/README.md, the most telling first: the recipe at lr 1e-3, to step 2,350. A
# finished run is skipped. From the repository's root:  nice -n 19 sh examples/first_author/held_out.sh
out=docs/results/explain/first_author/held_out
mkdir -p "$out"
export OMP_NUM_THREADS=1

one() {  # NAME OPTIONS...   (NAME: table_method_value_anchoring_seed)
    file="$out/$1.csv"
    [ -e "$file" ] && return
    shift
    python -m examples.first_author.recipe --lr 1e-3 --epochs 0.752 --every 2350 "$@" --out "$file.part" &&
        mv "$file.part" "$file"
}

for seed in 0 1; do
    one "table1_topk_0_anchored_$seed" --method topk --anchors 30 --seed $seed
    one "table1_transcoder_0_anchored_$seed" --method transcoder --anchors 30 --seed $seed
done
one table6_topk_0.005_none_0 --method topk --sparsity 0.995
one table6_topk_0.1_none_0 --method topk --sparsity 0.9
one table7_topk_32_none_0 --method topk --k 32
one table1_batchtopk_0_none_0 --method batchtopk
one table5_topk_0.05_none_0 --method topk --max-interference 0.05
# with 100 anchors
one table7_topk_32_anchored_0 --method topk --k 32 --anchors 100
one table6_topk_0.005_anchored_0 --method topk --sparsity 0.995 --anchors 100
one table7_topk_64_anchored_0 --method topk --anchors 100
one table6_topk_0.1_anchored_0 --method topk --sparsity 0.9 --anchors 100
one table1_batchtopk_0_anchored_0 --method batchtopk --anchors 30
one table7_topk_128_anchored_0 --method topk --k 128 --anchors 100
one table5_topk_0.05_anchored_0 --method topk --max-interference 0.05 --anchors 100
one table5_topk_0.2_none_0 --method topk --max-interference 0.2
one table5_topk_0.2_anchored_0 --method topk --max-interference 0.2 --anchors 100
one table1_crosscoder_0_anchored_0 --method crosscoder --anchors 30
one table4_relu_800_none_0 --method relu --n 800
one table4_relu_1400_none_0 --method relu --n 1400
one table1_relu_0_anchored_0 --method relu --anchors 30
for value in 0.05 0.2; do
    one "table5_batchtopk_${value}_none_0" --method batchtopk --max-interference $value
    one "table5_batchtopk_${value}_anchored_0" --method batchtopk --max-interference $value --anchors 100
done
one table6_batchtopk_0.005_none_0 --method batchtopk --sparsity 0.995
one table6_batchtopk_0.1_none_0 --method batchtopk --sparsity 0.9
