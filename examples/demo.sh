#!/usr/bin/env bash
# Carry a generated log through both programs: generate, build, verify, fit, evaluate, export, recommend.
# Starts clean in ./demo, prints each command before it runs, and ends with what each part took.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}
rm -rf demo
mkdir demo

parts=()
run() { # run PART COMMAND...: print the command, run it (its stdout kept in demo/PART.out), note the seconds
    local part=$1 started=${EPOCHREALTIME/,/.} ended
    shift
    printf '\n$ %s\n' "$*"
    "$@" | tee "demo/$part.out"
    ended=${EPOCHREALTIME/,/.}
    parts+=("$(LC_ALL=C awk -v part="$part" -v from="$started" -v to="$ended" \
        'BEGIN { printf "%-10s %6.1f s", part, to - from }')")
}

run generate penstock-data generate demo/log --rows 1_000_000 --users 100_000 --items 20_000 --seed 7
run build penstock-data build examples/demo.spec.yaml --out demo/datasets
manifest=$(tail -n 1 demo/build.out)
run verify penstock-data verify "$manifest"
run show penstock-data show "$manifest"
run fit penstock-train fit examples/demo.recipe.yaml --dataset "$manifest" --workdir demo/run
run evaluate penstock-train evaluate demo/run
run export penstock-train export demo/run --out demo/model
user=$(python -c 'import pyarrow.dataset as log; print(log.dataset("demo/log").head(1)["user_id"][0])')
run recommend penstock-train recommend demo/model --user "$user" -k 10

printf '\nDone: a log of 1,000,000 rows became the dataset %s,\n' "$manifest"
printf 'a model trained on it is in demo/run and exported to demo/model, and user %s got 10 items. It took:\n' "$user"
printf '  %s\n' "${parts[@]}"
