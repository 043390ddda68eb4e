#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# bench.sh [full|quick|page [FILE]|rsa [ARGUMENT...]|--test]: measures.
#   full    requests beside what one could have instead, some minutes (the default): the
#           raw data in benches/runs, the table and the pictures in docs/benchmarks.md
#   quick   the same, with few samples: the table is printed, docs stay as they are
#   page    the table and the pictures anew, from the newest raw data or FILE
#   rsa     the search for RSA keys beside other generators, half an hour; arguments are
#           criterion's. TDK_BENCH_SEEDS is the number of keys in a row, at least 30
#   --test  all of them once, to see that everything works
set -eu
cd "$(dirname "$0")/.."
what=${1:-full}
[ $# = 0 ] || shift

# The runner, and what it measures, built before anything is measured.
runner() {
    cargo run --quiet --locked --package tdk-bench -- "$@"
}
build() {
    scripts/build.sh --quiet
    cargo build --quiet --locked --package tdk-bench
    cargo bench --quiet --locked --package tdk-benches --bench stages --no-run
    kernel
}

# A kernel that has the key type, for the virtual machine.
kernel() {
    TDK_TEST_KERNEL=$(kernel-patch/scripts/build.sh 6.12)
    export TDK_TEST_KERNEL
}

page() {
    runner page "$1"
    echo "bench: docs/benchmarks.md has the table and the pictures of $1"
}

# Python's cryptography, of a version that is named, in the cache.
python_cryptography() {
    version=50.0.2
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/tpm-derived-keys/cryptography-$version
    python=$cache/bin/python
    if ! "$python" -c 'import cryptography' 2>/dev/null; then
        echo "bench: installing Python's cryptography $version in $cache"
        rm -rf "$cache"
        python3 -m venv "$cache" &&
            "$python" -m pip install --quiet --disable-pip-version-check \
                --only-binary :all: "cryptography==$version" ||
            python=
    fi
    [ -z "$python" ] || export TDK_BENCH_PYTHON="$python"
}

case $what in
full)
    scripts/deps.sh bench
    scripts/deps.sh kernel
    build
    raw=benches/runs/$(date -u +%Y-%m-%d).json
    runner run --size full --output "$raw"
    page "$raw"
    ;;
quick)
    scripts/deps.sh bench
    scripts/deps.sh kernel
    build
    runner run --size quick --output target/bench/quick.json
    ;;
page)
    raw=${1:-$(find benches/runs -name '*.json' | sort | tail -n 1)}
    page "$raw"
    ;;
rsa)
    scripts/deps.sh bench-rsa
    python_cryptography
    exec cargo bench --locked --package tdk-benches --features gmp --bench rsa -- "$@"
    ;;
--test)
    scripts/deps.sh bench
    scripts/deps.sh bench-rsa
    python_cryptography
    cargo bench --locked --package tdk-benches --features gmp -- --test
    scripts/deps.sh kernel
    kernel
    # The stages have had their turn.
    runner run --size test --output target/bench/test.json \
        --only commands,process,upcall,keys,scale,chips,growth,guest
    # As for the page, which stays as it is.
    cp docs/benchmarks.md target/bench/page.md
    runner page target/bench/test.json --page target/bench/page.md
    ;;
*)
    echo "usage: see the head of scripts/bench.sh" >&2
    exit 2
    ;;
esac
