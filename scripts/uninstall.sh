#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# uninstall.sh DESTDIR PREFIX: removes what install.sh put there, but for a
# configuration or policy that was changed.
set -eu
cd "$(dirname "$0")/.."
destdir=$1
prefix=$2

rm -f "$destdir$prefix/sbin/key.tpm2_derived" "$destdir$prefix/bin/tdk" \
    "$destdir$prefix/lib/systemd/system/tdk-unlock@.service" \
    "$destdir$prefix/lib/modules-load.d/tpm2-derived.conf"

# Without the program the line only makes requests fail. One that runs another
# program is not ours.
line=$destdir/etc/request-key.d/tpm2-derived.conf
if [ -e "$line" ] && ! grep -q "[[:blank:]|]$prefix/sbin/key.tpm2_derived[[:blank:]]" "$line"; then
    echo "kept $line"
else
    rm -f "$line"
fi

for name in config.toml policy.toml; do
    file=$destdir/etc/tdk/$name
    if [ -e "$file" ] && ! cmp -s "callout/etc/$name" "$file"; then
        echo "kept $file"
    else
        rm -f "$file"
    fi
done
rmdir "$destdir/etc/tdk" 2>/dev/null || true
