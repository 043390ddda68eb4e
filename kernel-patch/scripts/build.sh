#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# build.sh VERSION [hmac|debug]: builds a small kernel with the series, for the
# guests of the tests, and prints the directory that it is in: vmlinuz, config,
# and the selftest with its program. With `hmac`, it speaks to the TPM in
# encrypted sessions; with `debug`, it finds errors in itself, and some are
# planted in it, see debug/.
#
# Sources are those of Debian's package linux-source-VERSION, or the tree
# $KERNEL_SRC, which is copied; if it has the series already, that is built. What
# is built is kept in $XDG_CACHE_HOME/tpm-derived-keys/kernel, by the content of
# all that it is built from.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
umask 022

case "$#:${2:-}" in
1: | 2:hmac | 2:debug) ;;
*)
    echo "usage: build.sh VERSION [hmac|debug]" >&2
    exit 2
    ;;
esac
version=$1
variant=${2:-plain}
fragments="guest derived callout disks power"
sources=
case $variant in
hmac) fragments="$fragments hmac" ;;
debug)
    # It asks for keys and for nothing else.
    fragments="guest derived debug"
    sources="$here/debug/planted.c $here/debug/stress.c"
    ;;
esac
fragments=$(printf "$here/config/%s.config " $fragments)

say() {
    echo "kernel $version $variant: $*" >&2
}

if ! [ -d "$here/$version" ]; then
    say "there is no series for $version in kernel-patch/"
    exit 1
fi
if [ -n "${KERNEL_SRC:-}" ] && ! [ -f "$KERNEL_SRC/Kconfig" ]; then
    say "$KERNEL_SRC is no kernel's source tree"
    exit 1
fi

. "$here/scripts/tree.sh"

# The archive with Debian's sources, fetched once.
fetch() {
    if ! [ -e "$cache/src/$version.package" ]; then
        mkdir "$work/source"
        "$here/../scripts/kernels.sh" --source "$version" "$work/source" >&2
        package=$(basename "$work/source"/*.deb)
        dpkg-deb -x "$work/source/$package" "$work/source/tree"
        mv "$work/source/tree/usr/src/linux-source-$version.tar.xz" "$cache/src/$version.tar.xz"
        echo "$package" >"$cache/src/$version.package"
        rm -rf "$work/source"
    fi
    cat "$cache/src/$version.package"
}

# What the source tree is made of: the sources' version and the patches.
{
    if [ -n "${KERNEL_SRC:-}" ]; then
        # Somebody's own tree may have changed in any way.
        date +%s%N
    else
        fetch
    fi
    find "$here/$version" -name '*.patch' ! -name '0000-*' | sort | xargs cat
} >"$work/source-ingredients"
# And configuration, compiler, and how it is done.
# shellcheck disable=SC2086
{
    cat "$work/source-ingredients" $fragments $sources \
        "$here/scripts/build.sh" "$here/scripts/tree.sh" "$here/scripts/apply.sh"
    gcc --version
    ld --version
} >"$work/ingredients"
hash() {
    sha256sum <"$work/$1" | cut -c1-16
}
if [ -n "${KERNEL_SRC:-}" ]; then
    # The last one of these takes the place of the one before.
    built=$cache/built/own-$version-$variant
    rm -rf "$built"
else
    built=$cache/built/$version-$variant-$(hash ingredients)
fi
if [ -e "$built/vmlinuz" ]; then
    # The builds that were used last are kept.
    touch "$built"
    echo "$built"
    exit
fi

if [ -z "${KERNEL_SRC:-}" ]; then
    say "unpacking its sources"
    unpack_sources
else
    say "copying $KERNEL_SRC"
    mkdir "$tree"
    # What was built there is of another configuration, and may be large.
    tar -C "$KERNEL_SRC" --exclude=./.git --exclude='*.o' --exclude='*.ko' --exclude='*.a' \
        --exclude=vmlinux -cf - . | tar -C "$tree" -xf -
    make -s -C "$tree" mrproper
fi
if [ -d "$tree/security/keys/derived-keys" ]; then
    say "the series is there already"
else
    "$here/scripts/apply.sh" "$version" "$tree"
fi

# Before 6.9, UBSAN looks at nothing but what it is told to.
if [ $variant = debug ] && grep -q '^config UBSAN_SANITIZE_ALL$' "$tree/lib/Kconfig.ubsan"; then
    echo CONFIG_UBSAN_SANITIZE_ALL=y >"$work/ubsan.config"
    fragments="$fragments $work/ubsan.config"
fi

say "building it, which takes some minutes"
log=$cache/build-$version.log
derived=$tree/security/keys/derived-keys
# shellcheck disable=SC2086
configure $fragments >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    exit 1
}

# An option whose needs are not met is dropped without a word. The last fragment
# that has one counts.
# shellcheck disable=SC2086
sed -n 's/^\(CONFIG_[A-Z0-9_]*\)=.*/\1/p' $fragments | sort -u | while read -r option; do
    wanted=$(cat $fragments | grep "^$option=" | tail -n 1)
    grep -qxF "$wanted" "$tree/.config" || {
        say "the configuration does not have $wanted"
        exit 1
    }
done

if [ $variant = debug ]; then
    cp "$here/debug/planted.c" "$derived/derived_planted.c"
    echo "obj-y += derived_planted.o" >>"$derived/Makefile"
fi
kmake -j"$(nproc)" bzImage >>"$log" 2>&1 || {
    grep -B 2 -A 10 -E 'error|Error' "$log" | head -n 60 >&2
    exit 1
}
selftest=$tree/tools/testing/selftests/keys
kmake -C "$selftest" >>"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    exit 1
}
mkdir "$work/built"
cp "$selftest/derived.sh" "$selftest/derived_asker" "$work/built/"
if [ $variant = debug ]; then
    gcc -O2 -Wall -Wextra -static -o "$work/built/stress" "$here/debug/stress.c"
fi
cp "$tree/arch/x86/boot/bzImage" "$work/built/vmlinuz"
cp "$tree/.config" "$work/built/config"
# Whole or not at all, and from another file system, perhaps.
rm -rf "$built" "$built.part"
cp -R "$work/built" "$built.part"
mv "$built.part" "$built"
# Of kernels that nobody uses any more, the eight latest.
# shellcheck disable=SC2012
ls -1td "$cache/built"/*/ | tail -n +9 | xargs -r rm -rf
echo "$built"
