#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# check.sh VERSION: what the kernel's own judges say of the series, each of which
# may have nothing to say: checkpatch.pl --strict of each patch; spdxcheck.py of the
# files that are new; sparse and W=1 of the files that are new, and of those that are
# changed nothing that they did not say before; coccicheck of the directories that have
# new files, nothing that it did not say before. And that a kernel can be built after
# each patch.
#
# Needs what scripts/deps.sh kernel-check installs, and the sources that build.sh
# has fetched.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)

if [ $# -ne 1 ]; then
    echo "usage: check.sh VERSION" >&2
    exit 2
fi
version=$1
series=$here/$version
. "$here/scripts/tree.sh"
if ! [ -d "$series" ] || ! [ -e "$cache/src/$version.tar.xz" ]; then
    echo "check: no series for $version, or no sources yet: kernel-patch/scripts/build.sh $version" >&2
    exit 1
fi

say() {
    echo "check $version: $*"
}
failed=
wrong() {
    say "$*"
    failed=yes
}

say "unpacking"
unpack_sources

configure_small() {
    # shellcheck disable=SC2046
    configure $(printf "$here/config/%s.config " guest derived callout disks power) >"$work/config.log" 2>&1 || {
        cat "$work/config.log"
        exit 1
    }
}

patches=$(ls "$series"/*.patch | grep -v /0000-)
# What is made of the C files that are there already and are changed; the directory
# that the series adds, and what is made of other C files that it adds. Some of
# these later patches change again.
added=security/keys/derived-keys
new=$(sed -n '/^--- \/dev\/null$/{n; s#^+++ b/##p}' $patches)
objects=
for file in $(sed -n 's#^--- a/\(.*\.c\)$#\1#p' $patches | sort -u); do
    case $file in
    tools/*) ;;
    *) [ ! -e "$tree/$file" ] || objects="$objects ${file%.c}.o" ;;
    esac
done
added_objects=
added_to=
for file in $new; do
    case $file in
    tools/* | "$added"/*) ;;
    *.c)
        added_objects="$added_objects ${file%.c}.o"
        added_to="$added_to $(dirname "$file")"
        ;;
    esac
done

# What is said of the files named, without line numbers, which change.
judge() {
    output=$1
    shift
    # Those that were built are looked at again.
    for file; do
        case $file in
        *.o) rm -f "$tree/$file" ;;
        */) rm -f "$tree/$file"*.o ;;
        esac
    done
    kmake W=1 C=2 CHECK="sparse" "$@" >"$work/out" 2>&1 || {
        cat "$work/out"
        wrong "W=1 C=2 does not build"
    }
    sed -E 's/:[0-9]+(:[0-9]+)?:/:/' "$work/out" | grep -E '(warning|error):' | sort >"$output" || :
}

# What coccicheck says of the directories named, without line numbers, which change.
look_for_patterns() {
    output=$1
    shift
    : >"$work/said"
    for directory; do
        kmake MODE=report M="$directory" coccicheck >"$work/out" 2>&1 || {
            tail -n 20 "$work/out"
            wrong "coccicheck of $directory fails"
        }
        grep -E "^(\./)?$directory/.*(WARNING|ERROR|opportunity|should|:[0-9]+:[0-9]+-[0-9]+:)" \
            "$work/out" >>"$work/said" || :
    done
    sed -E 's/:[0-9]+:[0-9]+-[0-9]+:/:/; s/line [0-9]+/line/g' "$work/said" | sort >"$output"
}

# MAINTAINERS has the directories, so that it need not change with each file.
say "checkpatch.pl --strict"
for patch in $patches; do
    (cd "$tree" && perl scripts/checkpatch.pl --strict --quiet --no-summary \
        --ignore FILE_PATH_CHANGES "$patch") ||
        wrong "$(basename "$patch"): checkpatch.pl has findings"
done

configure_small
say "building without the series"
kmake -j"$(nproc)" bzImage >"$work/out" 2>&1 || { tail -n 20 "$work/out"; exit 1; }
# shellcheck disable=SC2086
judge "$work/before" $objects
# shellcheck disable=SC2086
look_for_patterns "$work/patterns-before" $added_to

for patch in $patches; do
    say "building with $(basename "$patch")"
    patch --directory="$tree" --strip=1 --forward --silent --no-backup-if-mismatch <"$patch"
    configure_small
    kmake -j"$(nproc)" bzImage >"$work/out" 2>&1 || {
        tail -n 20 "$work/out"
        wrong "$(basename "$patch") does not build"
    }
    ! grep -q 'warning:' "$work/out" || {
        cat "$work/out"
        wrong "$(basename "$patch") builds with warnings"
    }
done

say "W=1 and sparse"
# shellcheck disable=SC2086
judge "$work/after" $objects
comm -13 "$work/before" "$work/after" >"$work/new"
# shellcheck disable=SC2086
judge "$work/added" $added/ $added_objects
cat "$work/added" >>"$work/new"
if [ -s "$work/new" ]; then
    cat "$work/new"
    wrong "sparse or W=1 have something to say"
fi

# It takes the names of licences from a repository, where it is.
say "spdxcheck.py"
git -C "$tree" init --quiet
git -C "$tree" add --force LICENSES
git -C "$tree" -c user.name=check -c user.email=check@localhost commit --quiet --message=licences
# shellcheck disable=SC2086
(cd "$tree" && /usr/bin/python3 scripts/spdxcheck.py $new) >"$work/out" 2>&1 || :
rm -rf "$tree/.git"
if [ -s "$work/out" ]; then
    cat "$work/out"
    wrong "spdxcheck.py has something to say"
fi

say "coccicheck"
# shellcheck disable=SC2086
look_for_patterns "$work/patterns" $added $added_to
comm -13 "$work/patterns-before" "$work/patterns" >"$work/new"
if [ -s "$work/new" ]; then
    cat "$work/new"
    wrong "coccicheck has something to say"
fi

[ -z "$failed" ] || exit 1
say "nothing to say"
