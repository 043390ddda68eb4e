#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# install.sh DESTDIR PREFIX: installs the callout, tdk, their configuration, what has
# the parser for private keys loaded at boot, and a unit that unlocks volumes, which
# does nothing before it is enabled. A configuration that is there is kept.
set -eu
cd "$(dirname "$0")/.."
destdir=$1
prefix=$2
case "$prefix" in
/*) ;;
*)
    echo "install: PREFIX has to be an absolute path, not '$prefix'" >&2
    exit 1
    ;;
esac

# As root after `make build` by somebody else, there may be no cargo.
if command -v cargo >/dev/null; then
    scripts/build.sh
elif ! [ -x target/dist/key.tpm2_derived ]; then
    echo "install: run 'make build' first" >&2
    exit 1
fi

keep() {
    if [ -e "$2" ]; then
        echo "kept $2"
    else
        install -D -m 0644 "$1" "$2"
        echo "installed $2"
    fi
}

program=$prefix/sbin/key.tpm2_derived
install -D -m 0755 target/dist/key.tpm2_derived "$destdir$program"
install -D -m 0755 target/dist/tdk "$destdir$prefix/bin/tdk"
echo "installed $destdir$program and $destdir$prefix/bin/tdk"
if ldd target/dist/tdk | grep -q 'not found'; then
    echo "install: tdk needs libtss2's esys and tctildr (Debian 12: apt-get install" \
        "libtss2-esys-3.0.2-0 libtss2-tctildr0); the callout does not"
fi

unit=$prefix/lib/systemd/system/tdk-unlock@.service
install -d "$destdir${unit%/*}"
sed "s|/usr/bin/tdk|$prefix/bin/tdk|" callout/etc/tdk-unlock@.service >"$destdir$unit"
chmod 0644 "$destdir$unit"
echo "installed $destdir$unit"

modules=$destdir$prefix/lib/modules-load.d/tpm2-derived.conf
install -D -m 0644 callout/etc/modules-load.conf "$modules"
echo "installed $modules"

line=$(mktemp)
trap 'rm -f "$line"' EXIT
sed "s|/usr/sbin/key.tpm2_derived|$program|" callout/etc/tpm2-derived.conf >"$line"
keep "$line" "$destdir/etc/request-key.d/tpm2-derived.conf"
if ! grep -q "[[:blank:]|]$program[[:blank:]]" "$destdir/etc/request-key.d/tpm2-derived.conf"; then
    echo "install: $destdir/etc/request-key.d/tpm2-derived.conf does not run $program: correct it," \
        "or remove it and install again" >&2
    exit 1
fi
keep callout/etc/config.toml "$destdir/etc/tdk/config.toml"
keep callout/etc/policy.toml "$destdir/etc/tdk/policy.toml"
