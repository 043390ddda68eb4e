#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# build.sh VERSION [hmac]: builds a small kernel with the series, for the guests
# of the tests, and prints the directory that it is in: vmlinuz, config, and the
# selftest with its program. With `hmac`, it speaks to the TPM in encrypted
# sessions.
#
# Sources are those of Debian's package linux-source-VERSION, or the tree
# $KERNEL_SRC, which is copied. What is built is kept in
# $XDG_CACHE_HOME/tpm-derived-keys/kernel, by the content of all that it is
# built from.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tpm-derived-keys/kernel
umask 022

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ "${2:-hmac}" != hmac ]; then
    echo "usage: build.sh VERSION [hmac]" >&2
    exit 2
fi
version=$1
fragments="$here/config/guest.config $here/config/derived.config"
[ $# -eq 1 ] || fragments="$fragments $here/config/hmac.config"

say() {
    echo "kernel $version: $*" >&2
}

mkdir -p "$cache/src"
# One at a time: it is enough for any machine. The lock goes with this process.
exec 9>"$cache/.lock"
flock 9

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

# The archive with Debian's sources, fetched once.
fetch() {
    if ! [ -e "$cache/src/$version.package" ]; then
        work=$(mktemp -d "$cache/src/.$version.XXXXXX")
        "$here/../scripts/kernels.sh" --source "$version" "$work"
        package=$(basename "$work"/*.deb)
        dpkg-deb -x "$work/$package" "$work/tree"
        mv "$work/tree/usr/src/linux-source-$version.tar.xz" "$cache/src/$version.tar.xz"
        echo "$package" >"$cache/src/$version.package"
        rm -rf "$work"
        work=
    fi
    cat "$cache/src/$version.package"
}

# Patches and configuration, the sources' version, and the compiler.
ingredients() {
    if [ -n "${KERNEL_SRC:-}" ]; then
        # Somebody's own tree may have changed in any way: never from the cache.
        date +%s%N
    else
        fetch
    fi
    # shellcheck disable=SC2086
    cat $fragments "$here/$version"/*.patch "$here/scripts/build.sh"
    gcc --version
}
ingredients >"$cache/.ingredients.$$"
name=$version-$(sha256sum <"$cache/.ingredients.$$" | cut -c1-16)
rm -f "$cache/.ingredients.$$"
built=$cache/built/$name
if [ -e "$built/vmlinuz" ]; then
    echo "$built"
    exit
fi

# In the same place each time, or ccache would find nothing.
tree=$cache/tree-$version
rm -rf "$tree"
mkdir -p "$tree"
if [ -n "${KERNEL_SRC:-}" ]; then
    say "copying $KERNEL_SRC"
    cp -a "$KERNEL_SRC/." "$tree/"
    rm -rf "$tree/.git"
else
    say "unpacking its sources"
    tar -C "$tree" --strip-components=1 -xf "$cache/src/$version.tar.xz"
fi
"$here/scripts/apply.sh" "$version" "$tree"

compiler=gcc
if command -v ccache >/dev/null; then
    compiler="ccache gcc"
    export CCACHE_DIR="$cache/ccache"
    export CCACHE_BASEDIR="$tree"
fi
kmake() {
    make -s -C "$tree" CC="$compiler" KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=tdk \
        KBUILD_BUILD_HOST=tdk "$@"
}

say "building it, which takes some minutes"
log=$cache/build-$version.log
{
    kmake tinyconfig &&
        # shellcheck disable=SC2086
        (cd "$tree" && scripts/kconfig/merge_config.sh -m .config $fragments) &&
        kmake olddefconfig
} >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    exit 1
}

# An option whose needs are not met is dropped without a word.
# shellcheck disable=SC2086
cat $fragments | grep '^CONFIG_.*=[^n]' | while read -r option; do
    grep -qxF "$option" "$tree/.config" || {
        say "the configuration has no $option" >&2
        exit 1
    }
done

kmake -j"$(nproc)" bzImage >>"$log" 2>&1 || {
    grep -B 2 -A 10 -E 'error|Error' "$log" | head -n 60 >&2
    exit 1
}
selftest=$tree/tools/testing/selftests/keys
kmake -C "$selftest" >>"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    exit 1
}
rm -rf "$built" "$built.new"
mkdir -p "$built.new"
cp "$selftest/derived.sh" "$selftest/derived_asker" "$built.new/"
cp "$tree/arch/x86/boot/bzImage" "$built.new/vmlinuz"
cp "$tree/.config" "$built.new/config"
mv "$built.new" "$built"
# Gigabytes, and made again in a minute.
rm -rf "$tree"
echo "$built"
