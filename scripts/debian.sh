#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Makes the root file system of guests that run systemd: a minimal Debian 12, as
# $XDG_CACHE_HOME/tpm-derived-keys/debian/HASH/root.ext4, where HASH is the
# beginning of this file's SHA-256: another script, another image. Older ones may
# be removed at any time. What is there is kept; with --update it is made anew,
# of the packages of today.
#
# Without root it needs user namespaces, the package uidmap, and a line for the
# user in /etc/subuid and /etc/subgid, as adduser(8) makes them.
set -eu
self=$0

packages="systemd systemd-sysv libnss-systemd udev kmod keyutils cryptsetup-bin e2fsprogs openssh-server"
size=512M

case "${1:-}" in
'') update= ;;
--update) update=yes ;;
*)
    echo "usage: debian.sh [--update]" >&2
    exit 2
    ;;
esac

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tpm-derived-keys
case $cache in
*[[:space:]]*)
    echo "debian: mmdebstrap can't write to a directory with blanks in its name: set XDG_CACHE_HOME" >&2
    exit 1
    ;;
esac
hash=$(sha256sum <"$self" | cut -c1-12)
image=$cache/debian/$hash/root.ext4
if [ -e "$image" ] && [ -z "$update" ]; then
    exit 0
fi

PATH=$PATH:/usr/sbin:/sbin
for program in mmdebstrap mke2fs; do
    if ! command -v "$program" >/dev/null; then
        echo "debian: $program is missing: apt-get install mmdebstrap e2fsprogs" >&2
        exit 1
    fi
done
key=/usr/share/keyrings/debian-archive-keyring.gpg
if ! [ -e "$key" ]; then
    echo "debian: $key is missing: apt-get install debian-archive-keyring" >&2
    exit 1
fi
: "${DEBIAN_MIRROR:=http://deb.debian.org}"

mkdir -p "${image%/*}"
work=$(mktemp -d "${image%/*}/.new.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

# Runs where the file system has its owners, which may be in a user namespace
# that can't write to our directory; and with /proc and /sys mounted in it.
pack='set -eu
bare=$1.bare
mkdir "$bare"
mount --bind "$1" "$bare"
rm -rf "$bare"/var/lib/apt/lists/* "$bare"/var/cache/apt/* "$bare"/var/log/*.log
mke2fs -q -t ext4 -L root -d "$bare" "$1.ext4" '$size'
umount "$bare"
rmdir "$bare"
mv "$1.ext4" "$1/root.ext4"'

# A machine that has been started before: no first boot to wait for.
settle='set -eu
echo guest >"$1/etc/hostname"
echo 11111111111111111111111111111111 >"$1/etc/machine-id"
printf "%s\n" "127.0.0.1 localhost guest" >"$1/etc/hosts"
rm -f "$1/etc/fstab"
chroot "$1" useradd --uid 1000 --user-group --no-create-home user
chroot "$1" useradd --uid 1001 --user-group --no-create-home other
rm -f "$1/etc/systemd/system/sshd.service" \
    "$1/etc/systemd/system/multi-user.target.wants/ssh.service"
touch "$1/etc/.updated" "$1/var/.updated"'

proxy=
if command -v apt-config >/dev/null; then
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
fi

echo "debian: making $image"
log=$work/log
mmdebstrap --verbose --architectures=amd64 --variant=essential --format=null \
    --keyring="$key" ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --include="usr-is-merged $packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt=force-unsafe-io \
    --customize-hook="$settle" \
    --customize-hook="sh -c '$pack' sh \"\$1\"" \
    --customize-hook="download /root.ext4 $work/root.ext4" \
    bookworm /dev/null \
    "deb $DEBIAN_MIRROR/debian bookworm main" \
    "deb $DEBIAN_MIRROR/debian-security bookworm-security main" >"$log" 2>&1 </dev/null || {
    tail -n 40 "$log" >&2
    echo "debian: the image could not be made" >&2
    if [ "$(id -u)" != 0 ] && ! grep -q "^$(id -un):" /etc/subuid 2>/dev/null; then
        echo "debian: as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535" \
            "$(id -un)" >&2
    fi
    exit 1
}
# Without the blocks that nothing is in; whole or not at all.
cp --sparse=always "$work/root.ext4" "$work/sparse"
mv "$work/sparse" "$image"
