#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# apply.sh VERSION TREE: applies the series for that version to a source tree,
# as commits if it is a git repository.
set -eu

if [ $# -ne 2 ]; then
    echo "usage: apply.sh VERSION TREE" >&2
    exit 2
fi
series=$(cd "$(dirname "$0")/.." && pwd)/$1
tree=$2

if ! [ -d "$series" ]; then
    echo "apply: there is no series for $1 in kernel-patch/" >&2
    exit 1
fi
if ! [ -f "$tree/Kconfig" ]; then
    echo "apply: $tree is no kernel's source tree" >&2
    exit 1
fi
# All but the cover letter.
set --
for patch in "$series"/*.patch; do
    case $patch in
    */0000-*) ;;
    *) set -- "$@" "$patch" ;;
    esac
done
if [ -e "$tree/.git" ]; then
    git -C "$tree" am --quiet "$@"
    exit
fi
for patch; do
    patch --directory="$tree" --strip=1 --forward --silent --no-backup-if-mismatch <"$patch" || {
        echo "apply: $(basename "$patch") does not apply to $tree" >&2
        exit 1
    }
done
