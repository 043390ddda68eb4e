#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# deny.sh CHECK...: looks at what the project depends on by deny.toml. The
# checks are cargo-deny's: bans, licenses, sources, advisories.
#
# Takes the installed cargo-deny, or builds one in the cache.
set -eu
cd "$(dirname "$0")/.."

version=0.20.2
[ $# -gt 0 ] || { echo "usage: deny.sh bans|licenses|sources|advisories..." >&2; exit 2; }

has_version() {
    [ "$("$1" --version 2>/dev/null | cut -d' ' -f2)" = "$version" ]
}

tool=$(command -v cargo-deny || true)
if [ -z "$tool" ] || ! has_version "$tool"; then
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/tpm-derived-keys/cargo-deny-$version
    tool=$cache/bin/cargo-deny
    if ! has_version "$tool"; then
        echo "deny: building cargo-deny $version in $cache"
        # It runs for a second: not worth a compiler's best.
        CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
            CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 \
            cargo install --quiet --locked --no-default-features --force \
            --version "$version" --root "$cache" cargo-deny
    fi
fi

# So that cargo-deny need not: it has no say in versions.
cargo fetch --quiet --locked
"$tool" --locked check --hide-inclusion-graph "$@"
