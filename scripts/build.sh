#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Builds what is shipped into target/dist: the static callout and tdk; and
# tdk-sim for whoever wants to try them on a software TPM.
set -eu
cd "$(dirname "$0")/.."

target=$(rustc -vV | sed -n 's/^host: //p')
built=${CARGO_TARGET_DIR:-target}
dist=target/dist

# With a target named, the flag does not reach build scripts and macros, which
# can't be static.
cargo build --locked --release --package tdk-request-key --target "$target" \
    --config "target.$target.rustflags=['-Ctarget-feature=+crt-static']" "$@"
cargo build --locked --release --package tdk --package tdk-simulator --bins "$@"

# What is there stays until the new one takes its place: it may be in use.
put() {
    cmp -s "$1" "$dist/$2" && return
    install -m 0755 "$1" "$dist/.$2.$$"
    mv "$dist/.$2.$$" "$dist/$2"
}
mkdir -p "$dist"
put "$built/$target/release/key-tpm2-derived" key.tpm2_derived
put "$built/release/tdk" tdk
put "$built/release/tdk-sim" tdk-sim
