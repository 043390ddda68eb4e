#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# bench.sh [ARGUMENT...]: compares the search for RSA keys with other generators,
# and prints the tables of docs/benchmarks.md; and measures what a policy adds to a
# request. Arguments are criterion's: with
# --test each generator makes one key of each size, to see that everything works;
# with rsa2048 only that size is measured. TDK_BENCH_SEEDS is the number of keys
# in a row, at least 30.
set -eu
cd "$(dirname "$0")/.."
scripts/deps.sh bench

# Python's cryptography, of a version that is named, in the cache.
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

exec cargo bench --locked --package tdk-benches --features gmp -- "$@"
