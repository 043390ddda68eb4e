#!/bin/sh
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
stage "lints" cargo clippy --locked --workspace --all-targets --features tdk-tests/live,tdk-tests/guest -- -D warnings
stage "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
stage "build" scripts/build.sh
stage "test" scripts/test.sh
stage "demo" make demo

printf '\n'
cat "$times"
# As cargo and unittest counted them.
awk '
    /^test result:/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i - 1); if ($i ~ /^failed/) f += $(i - 1) } }
    /^Ran [0-9]+ tests? in/ { p += $2 }
    END { printf "\n%d passed, %d failed\n", p, f }
' "$log"
