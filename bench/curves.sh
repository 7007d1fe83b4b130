#!/usr/bin/env bash
# Measures the capacity curves of this host and draws them: three to ten minutes, as root.
#
#   bench/curves.sh [FOLDER]      pictures to FOLDER, bench/curves if it is not given
#
# Figures go to target/curves, a file for each run. ROUNDS=21 takes longer and spreads less.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-bench/curves}
rounds=${ROUNDS:-7}
target=${CARGO_TARGET_DIR:-target}
figures=$target/curves
mkdir -p "$figures"

cargo build --quiet --release --package freshet-bench --bin fanout --bin cores --bin plot
run() { "$target/release/$1" "${@:2}" --json "$figures/$name.json" | tee "$figures/$name.txt" | tail -n +1; }

name=bursts run fanout --rounds "$rounds" --bursts 1,2,3,4,6,8,9,12,16,24,32 --sink segment
viewers=()
for count in 10 100 1000 5000 20000; do
    # A figure is of 36,000 packets, or of one burst to everybody.
    name=viewers-$count run fanout --viewers "$count" --bursts 9 --sink "segments UDP" \
        --rounds "$((count < 100 ? 3 : rounds))" --packets "$((count < 100 ? 4000 : 36000))"
    viewers+=("$figures/viewers-$count.json")
done
name=cores run cores --rounds "$rounds"
"$target/release/plot" --bursts "$figures/bursts.json" --viewers "${viewers[@]}" \
    --cores "$figures/cores.json" --out "$out"
