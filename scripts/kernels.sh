#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Fetches the kernels that guests boot, Debian's for virtual machines, into
# $XDG_CACHE_HOME/tpm-derived-keys/kernels/VERSION:
#   vmlinuz   the image
#   modules   its modules, uncompressed
#   package   which package and version that is
# Nothing is installed, and no root is needed. What is there is kept; with
# --update a newer package replaces it.
#
# kernels.sh --source VERSION DIR instead fetches the package with that kernel's
# source into DIR.
set -eu

versions="6.1 6.12"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tpm-derived-keys
mkdir -p "$cache/kernels"

# One at a time: apt's lists are shared. The lock goes with this process.
exec 9>"$cache/kernels/.lock"
flock 9

# Or the trap below would not run.
trap 'exit 1' INT TERM HUP

update=
source=
case "$#:${1:-}" in
0:) ;;
1:--update) update=yes ;;
3:--source) source=$2 directory=$3 ;;
*)
    echo "usage: kernels.sh [--update | --source VERSION DIR]" >&2
    exit 2
    ;;
esac

wanted=
for version in $versions; do
    if [ "$update" ] || ! [ -e "$cache/kernels/$version/package" ]; then
        wanted="$wanted $version"
    fi
done
[ -z "$source" ] || wanted=" $source"
[ -n "$wanted" ] || exit 0

for program in apt-get dpkg-deb xz; do
    if ! command -v "$program" >/dev/null; then
        echo "kernels: $program is missing: put Debian's kernels$wanted for virtual machines into" \
            "$cache/kernels/VERSION by hand, as the head of this script says" >&2
        exit 1
    fi
done

# apt with lists of its own: those of Debian 12, which has both kernels, whatever
# this system is and however old its lists are.
apt=$cache/apt
key=/usr/share/keyrings/debian-archive-keyring.gpg
if ! [ -e "$key" ]; then
    echo "kernels: $key is missing: apt-get install debian-archive-keyring" >&2
    exit 1
fi
mkdir -p "$apt/lists/partial" "$apt/archives/partial"
: "${DEBIAN_MIRROR:=http://deb.debian.org}"
cat >"$apt/sources.list" <<END
deb [arch=amd64 signed-by=$key] $DEBIAN_MIRROR/debian bookworm main
deb [arch=amd64 signed-by=$key] $DEBIAN_MIRROR/debian-security bookworm-security main
END
: >"$apt/status"
# What this system runs after apt concerns its own packages.
printf '#clear %s;\n' APT::Update::Pre-Invoke APT::Update::Post-Invoke \
    APT::Update::Post-Invoke-Success >"$apt/conf"
private() {
    program=$1
    shift
    "$program" -qq -c "$apt/conf" -o APT::Architecture=amd64 -o APT::Architectures=amd64 \
        -o "Acquire::Languages=none" \
        -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o "Dir::State=$apt" -o "Dir::State::Lists=$apt/lists" \
        -o "Dir::State::Status=$apt/status" \
        -o "Dir::Cache=$apt" -o "Dir::Cache::Archives=$apt/archives" \
        -o APT::Sandbox::User="$(id -un)" "$@"
}

# The image that the first of the meta packages needs which is of that version.
image_of() {
    for meta in "linux-image-$1-cloud-amd64" linux-image-cloud-amd64; do
        image=$(private apt-cache depends "$meta" 2>/dev/null |
            sed -n "s/^ *Depends: \(linux-image-$(echo "$1" | sed 's/\./\\./')\.[^ ]*\)$/\1/p")
        [ -z "$image" ] || { echo "$image"; return; }
    done
    echo "kernels: Debian has no kernel $1 any more" >&2
    return 1
}

private apt-get update
if [ -n "$source" ]; then
    (cd "$directory" && private apt-get download "linux-source-$source")
    exit
fi
for version in $wanted; do
    image=$(image_of "$version")
    work=$(mktemp -d "$cache/kernels/.$version.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && private apt-get download "$image")
    package=$(basename "$work"/*.deb)
    if [ "$(cat "$cache/kernels/$version/package" 2>/dev/null)" != "$package" ]; then
        dpkg-deb -x "$work/$package" "$work/tree"
        mkdir "$work/new"
        mv "$work"/tree/boot/vmlinuz-* "$work/new/vmlinuz"
        mv "$work"/tree/lib/modules/* "$work/new/modules"
        find "$work/new/modules" -name '*.ko.xz' -exec xz -d {} +
        echo "$package" >"$work/new/package"
        # Whole or not at all.
        [ ! -e "$cache/kernels/$version" ] || mv "$cache/kernels/$version" "$work/old"
        mv "$work/new" "$cache/kernels/$version"
        echo "kernels: fetched $package"
    fi
    rm -rf "$work"
done
