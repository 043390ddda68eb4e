#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Everything that can be tested here. What can't is said in a line each; with
# CI=true it is an error.
set -eu
cd "$(dirname "$0")/.."

not_run=
skip() {
    if [ "${CI:-}" = true ]; then
        echo "error: not run: $1" >&2
        exit 1
    fi
    not_run="${not_run}not run: $1
"
}

# Whether a request made here reaches the /sbin/request-key and the
# configuration that are here (in a container it does not).
upcalls_work() {
    probe=tdk-test-$$-probe
    file=/etc/request-key.d/$probe.conf
    echo "create user $probe * /bin/keyctl instantiate %k yes %S" >"$file" || return 1
    answer=$(keyctl session - sh -c \
        'keyctl pipe "$(keyctl request2 user "$1" x @s)"' sh "$probe" 2>/dev/null) || true
    rm -f "$file"
    [ "$answer" = yes ]
}

# Those that need Docker have a script of their own: scripts/test-containers.sh.
packages="--workspace --exclude tdk-containers"
features=
if [ "$(id -u)" != 0 ]; then
    skip "requests on the live kernel (they need root)"
elif ! [ -r /proc/keys ]; then
    skip "requests on the live kernel (this one has no key retention service)"
elif ! upcalls_work; then
    skip "requests on the live kernel (upcalls don't reach this system; is it a container?)"
else
    features=tdk-tests/live
fi

# What guests need and is not here.
lacks_guests() {
    [ "$(uname -m)" = x86_64 ] || { echo "guests are of another architecture"; return; }
    for program in qemu-system-x86_64 busybox ldd; do
        command -v "$program" >/dev/null || { echo "$program is missing: make deps-guest"; return; }
    done
    for version in 6.1 6.12; do
        kernel=${XDG_CACHE_HOME:-$HOME/.cache}/tpm-derived-keys/kernels/$version
        [ -e "$kernel/vmlinuz" ] || { echo "kernel $version is missing: make deps-guest"; return; }
    done
}
lacks=$(lacks_guests)
if [ -n "$lacks" ]; then
    skip "requests in virtual machines ($lacks)"
else
    features=$features${features:+,}tdk-tests/guest
fi

. scripts/locks.sh
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
{
    # shellcheck disable=SC2086
    cargo test --locked $packages ${features:+--features $features} &&
        python3 -W error -m unittest discover -s tests/oracle ||
        echo $? >"$log.status"
} 2>&1 | tee "$log"
[ ! -e "$log.status" ] || status=$(cat "$log.status")
rm -f "$log.status"
remove_new_locks

# What single tests could not do here they have said themselves.
printf '\n%s' "$not_run"
grep '^not run: ' "$log" | sort -u
scripts/count.sh "$log"
exit "$status"
