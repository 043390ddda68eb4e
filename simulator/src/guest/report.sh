# SPDX-License-Identifier: Apache-2.0 OR MIT
# Runs /run/tdk-guest/script, or without one a shell on the console, and reports to the
# host, over virtio ports:
#   out      the script's standard input and output
#   err      its standard error
#   log      the kernel's log
#   journal  systemd's journal, where there is one
# Each begins with the line "$mark", and ends with "$mark STATUS". Then the host
# says "$mark" as well, and the machine is switched off.

# busybox, wherever this runs: its read has time limits.
tool=/run/tdk-guest/busybox

off() {
    if [ -d /run/systemd/system ] && ! grep -q ' tdk\.discard' /proc/cmdline; then
        # What is on disks is to stay.
        systemctl --no-block start poweroff.target
        $tool sleep 60
    fi
    $tool sync
    $tool poweroff -f
}
fail() {
    echo "tdk: $*" >/dev/console
    off
}

# The path of a port, which may take a moment to appear.
port() {
    tries=0
    while [ "$tries" -lt 100 ]; do
        for name in /sys/class/virtio-ports/*/name; do
            device=${name%/name}
            device=/dev/${device##*/}
            if [ "$($tool cat "$name" 2>/dev/null)" = "$1" ] && [ -c "$device" ]; then
                echo "$device"
                return
            fi
        done
        tries=$((tries + 1))
        $tool sleep 0.05
    done
    fail "there is no virtio port $1"
}
# Should the host be gone.
limit=$($tool sed -n 's/.*tdk\.give_up=\([0-9]*\).*/\1/p' /proc/cmdline)
if [ -n "$limit" ]; then
    ($tool sleep "$limit" && $tool poweroff -f) </dev/null >/dev/null 2>&1 &
fi

mark=$($tool sed -n 's/.*tdk\.mark=\([0-9a-f]*\).*/\1/p' /proc/cmdline)
exec 3<>"$(port out)" 4>"$(port err)" 5>"$(port log)" 6>"$(port journal)"
# Also waits until the host listens.
for port in 3 4 5 6; do
    echo "$mark" >&$port
done

# So that what a boot says is told from what comes of the script.
echo "tdk: the script begins" >/dev/kmsg
if [ -e /run/tdk-guest/script ]; then
    /bin/sh /run/tdk-guest/script <&3 >&3 2>&4 3>&- 4>&- 5>&- 6>&-
else
    shell=/bin/bash
    [ -x "$shell" ] || shell=/bin/sh
    $tool setsid $tool cttyhack "$shell" -l 3>&- 4>&- 5>&- 6>&-
fi
status=$?

$tool dmesg -r >&5
if [ -d /run/systemd/system ]; then
    journalctl --sync
    journalctl --no-pager --quiet --boot --output=short-monotonic >&6
fi
for port in 3 4 5 6; do
    echo "$mark $status" >&$port
done
while read -r -t 10 line <&3 && [ "$line" != "$mark" ]; do :; done
off
