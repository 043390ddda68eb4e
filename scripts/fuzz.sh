#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# fuzz.sh [--runs N] [TARGET...]: feeds the targets of tests/fuzz, or those that are
# named, with what libFuzzer makes of tests/fuzz/corpus: each for FUZZ_SECONDS (600),
# or with --runs that many times, and always the same.
#
# The stable compiler does it, with the flags that `cargo fuzz` would give it; whoever
# has that and a nightly compiler can say `cargo fuzz run --fuzz-dir tests/fuzz TARGET`.
#
# What was found by the clock is kept in $XDG_CACHE_HOME/tpm-derived-keys/fuzz/TARGET,
# and what fails in tests/fuzz/artifacts.
set -eu
cd "$(dirname "$0")/.."

runs=
if [ "${1:-}" = --runs ]; then
    runs=$2
    shift 2
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tpm-derived-keys/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
built=${CARGO_TARGET_DIR:-target}/fuzz

[ $# -gt 0 ] || for target in tests/fuzz/fuzz_targets/*.rs; do
    set -- "$@" "$(basename "$target" .rs)"
done

# The compiler's counters and traces, for what runs here and not for what builds it.
passes="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
CARGO_TARGET_DIR=$built RUSTFLAGS="--cfg fuzzing $passes" \
    cargo build --quiet --locked --release --manifest-path tests/fuzz/Cargo.toml --target "$host" --bins

log=$(mktemp)
new=$(mktemp -d)
trap 'rm -rf "$log" "$new"' EXIT
status=0
for target in "$@"; do
    mkdir -p "tests/fuzz/artifacts/$target"
    set -- -artifact_prefix="tests/fuzz/artifacts/$target/" -timeout=60 -rss_limit_mb=2048
    if [ -n "$runs" ]; then
        rm -rf "${new:?}"/*
        set -- "$@" -seed=1 -runs="$runs" "$new"
    else
        mkdir -p "$cache/$target"
        set -- "$@" -max_total_time="${FUZZ_SECONDS:-600}" "$cache/$target"
    fi
    if "$built/$host/release/$target" "$@" "tests/fuzz/corpus/$target" >"$log" 2>&1; then
        # "#N DONE cov: EDGES ft: FEATURES corp: FILES/BYTES ..."
        sed -n 's/^#\([0-9]*\)[[:space:]]*DONE *cov: \([0-9]*\) .*corp: \([^ ]*\) .*/\1 runs, \2 edges, corpus \3/p' "$log" |
            sed "s/^/fuzz: $target: /"
    else
        tail -n 40 "$log" >&2
        echo "fuzz: $target failed" >&2
        status=1
    fi
done
exit "$status"
