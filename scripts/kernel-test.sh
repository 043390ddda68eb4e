#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# kernel-test.sh [VERSION [hmac]]: builds kernels with the series of kernel-patch/
# and tests them in virtual machines; without arguments, all there are. With
# KERNEL_SRC=TREE, VERSION's series is applied to a copy of that source tree.
set -eu
cd "$(dirname "$0")/.."

run() {
    TDK_TEST_KERNEL=$(kernel-patch/scripts/build.sh "$@")
    export TDK_TEST_KERNEL
    echo "== kernel $*: $TDK_TEST_KERNEL"
    # A machine each, of one processor: as many as there are take longer.
    cargo test --locked --package tdk-tests --features kernel --test kernel -- --test-threads=2
}

if [ $# -gt 0 ]; then
    run "$@"
    exit
fi
if [ -n "${KERNEL_SRC:-}" ]; then
    echo "usage: KERNEL_SRC=TREE kernel-test.sh VERSION [hmac]" >&2
    exit 2
fi
for version in 6.12 6.1; do
    [ ! -d "kernel-patch/$version" ] || run "$version"
done
run 6.12 hmac
