#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Process 1 of a guest, at first: loads the modules, and goes on with what the
# system is: report.sh here, or systemd on a disk.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
cd /

fail() {
    echo "tdk: $*"
    busybox poweroff -f
}

/bin/busybox --install -s
mount -t proc proc /proc || fail "no /proc"
mount -t sysfs sysfs /sys || fail "no /sys"
mount -t devtmpfs dev /dev || fail "no /dev"
mount -t tmpfs -o mode=755 tmpfs /run

for module in /tdk/modules/*; do
    [ ! -e "$module" ] || insmod "$module" || fail "$module can't be loaded"
done

mkdir /run/tdk-guest
cp /tdk/report.sh /bin/busybox /run/tdk-guest/
[ ! -e /tdk/script ] || cp /tdk/script /run/tdk-guest/
[ ! -e /tdk/switch.sh ] || . /tdk/switch.sh

mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
hostname guest
exec sh /run/tdk-guest/report.sh
