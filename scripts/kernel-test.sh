#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# kernel-test.sh [VERSION [hmac|debug]]: builds kernels with the series of
# kernel-patch/ and tests them in virtual machines; without arguments, all there
# are. --ci leaves out the one with encrypted sessions (hmac). --soak is a debug
# boot of each version with ten times as many operations.
#
# With KERNEL_SRC=TREE, the series is applied to a copy of that source tree, if it
# is not there already: the one for VERSION, or else the latest that is not later
# than the tree.
set -eu
[ -z "${KERNEL_SRC:-}" ] || {
    KERNEL_SRC=$(realpath -m "$KERNEL_SRC")
    export KERNEL_SRC
}
cd "$(dirname "$0")/.."

# took WHAT: keeps how long it is since the last time.
times=
last=$(date +%s)
took() {
    now=$(date +%s)
    times="$times$(printf '%-28s %5d s' "$1" $((now - last)))
"
    last=$now
}

# No test is run on a kernel that it is not for.
run() {
    TDK_TEST_KERNEL=$(kernel-patch/scripts/build.sh "$@")
    export TDK_TEST_KERNEL
    echo "== kernel $*: $TDK_TEST_KERNEL"
    took "kernel $*, built"
    what=$*
    case ${2:-} in
    debug) set -- debug:: --nocapture ;;
    # A machine each, of one processor: as many as there are take longer.
    *) set -- --skip debug:: --test-threads=2 ;;
    esac
    cargo test --locked --package tdk-tests --features kernel --test kernel -- "$@"
    took "kernel $what, tested"
}

# The series for the tree that is $KERNEL_SRC.
series() {
    version=$(sed -n 's/^VERSION = //p; s/^PATCHLEVEL = /./p' "$KERNEL_SRC/Makefile" 2>/dev/null | tr -d '\n')
    [ -n "$version" ] || {
        echo "kernel-test: $KERNEL_SRC is no kernel's source tree" >&2
        return 1
    }
    latest=
    for series in 6.1 6.12; do
        newer=$(printf '%s\n%s\n' "$series" "$version" | sort -V | tail -n 1)
        [ "$newer" != "$version" ] || latest=$series
    done
    [ -n "$latest" ] || {
        echo "kernel-test: $KERNEL_SRC is Linux $version: the series is for 6.1 and later" >&2
        return 1
    }
    echo "$latest"
}

case "$#:${1:-}:${KERNEL_SRC:+own}" in
0::)
    run 6.1
    run 6.12
    run 6.12 hmac
    run 6.12 debug
    ;;
1:--ci:)
    run 6.12
    run 6.12 debug
    run 6.1
    ;;
1:--soak:)
    export TDK_TEST_OPERATIONS=10000
    run 6.12 debug
    run 6.1 debug
    ;;
0::own)
    version=$(series)
    run "$version"
    ;;
1:6.1:* | 1:6.12:* | 2:6.1:* | 2:6.12:*) run "$@" ;;
*)
    echo "usage: kernel-test.sh [--ci | --soak | VERSION [hmac|debug]]" >&2
    exit 2
    ;;
esac
printf '\n%s' "$times"
