#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Everything, with nothing left out and each stage's time.
set -eu
cd "$(dirname "$0")/.."
CI=true
export CI

log=$(mktemp)
times=$(mktemp)
trap 'rm -f "$log" "$times"' EXIT

stage() {
    name=$1
    shift
    printf '\n== %s\n' "$name"
    start=$(date +%s)
    status=0
    { "$@" 2>&1 || echo $? >"$log.status"; } | tee -a "$log"
    if [ -f "$log.status" ]; then
        status=$(cat "$log.status")
        rm -f "$log.status"
    fi
    printf '%-28s %5d s\n' "$name" $(($(date +%s) - start)) >>"$times"
    if [ "$status" != 0 ]; then
        cat "$times"
        printf '\nstage failed: %s\n' "$name"
        exit 1
    fi
}

stage "format" cargo fmt --all --check
stage "format of the fuzz targets" cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
stage "lints" cargo clippy --locked --workspace --all-targets --features tdk-tests/live,tdk-tests/guest,tdk-tests/kernel -- -D warnings
stage "lints of the fuzz targets" cargo clippy --locked --manifest-path tests/fuzz/Cargo.toml --bins -- -D warnings
stage "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
stage "dependencies" scripts/deny.sh bans licenses sources
stage "build" scripts/build.sh
stage "test" scripts/test.sh
stage "containers" scripts/test-containers.sh
stage "kernel, what it needs" scripts/deps.sh kernel
stage "kernel" scripts/kernel-test.sh --ci
stage "benchmark" scripts/bench.sh --test
stage "fuzz" scripts/fuzz.sh --runs 20000
stage "demo" make demo
stage "demo on the live kernel" make demo-host

printf '\n'
cat "$times"
# The test runners' own closing lines, in one.
scripts/count.sh "$log"
