#!/bin/busybox sh
# Process 1 of a guest. Runs /tdk/script, or without one a shell on the console,
# and reports to the host, over virtio ports:
#   out  the script's standard input and output
#   err  its standard error
#   log  the kernel's log
# Each begins with the line "$mark", and ends with "$mark STATUS". Then the host
# says "$mark" as well, and the machine is switched off.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
cd /

off() {
    busybox poweroff -f
}
fail() {
    echo "tdk: $*"
    off
}

/bin/busybox --install -s
mount -t proc proc /proc || fail "no /proc"
mount -t sysfs sysfs /sys || fail "no /sys"
mount -t devtmpfs dev /dev || fail "no /dev"
mount -t tmpfs tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
hostname guest

for module in /tdk/modules/*; do
    [ ! -e "$module" ] || insmod "$module" || fail "$module can't be loaded"
done

# The path of a port, which may take a moment to appear.
port() {
    tries=0
    while [ "$tries" -lt 100 ]; do
        for name in /sys/class/virtio-ports/*/name; do
            device=${name%/name}
            device=/dev/${device##*/}
            if [ "$(cat "$name" 2>/dev/null)" = "$1" ] && [ -c "$device" ]; then
                echo "$device"
                return
            fi
        done
        tries=$((tries + 1))
        sleep 0.05
    done
    fail "there is no virtio port $1"
}
# Should the host be gone.
limit=$(sed -n 's/.*tdk\.give_up=\([0-9]*\).*/\1/p' /proc/cmdline)
if [ -n "$limit" ]; then
    (sleep "$limit" && off) </dev/null >/dev/null 2>&1 &
fi

mark=$(sed -n 's/.*tdk\.mark=\([0-9a-f]*\).*/\1/p' /proc/cmdline)
exec 3<>"$(port out)" 4>"$(port err)" 5>"$(port log)"
# Also waits until the host listens.
for port in 3 4 5; do
    echo "$mark" >&$port
done

# So that what a boot says is told from what comes of the script.
echo "tdk: the script begins" >/dev/kmsg
if [ -e /tdk/script ]; then
    sh /tdk/script <&3 >&3 2>&4 3>&- 4>&- 5>&-
else
    setsid cttyhack sh -l 3>&- 4>&- 5>&-
fi
status=$?

dmesg -r >&5
for port in 3 4 5; do
    echo "$mark $status" >&$port
done
while read -r -t 10 line <&3 && [ "$line" != "$mark" ]; do :; done
off
