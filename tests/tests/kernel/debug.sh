# SPDX-License-Identifier: Apache-2.0 OR MIT
# What a debug kernel is put through. Before it, prelude.sh, tpm.sh, $operations
# and selftest.
mount -t debugfs debugfs /sys/kernel/debug || exit 1
debug=/sys/kernel/debug

# What the boot has left is not of these keys.
scan() {
    # Twice, and not too soon: what is young or has just changed is not looked at.
    for time in 1 2; do
        sleep 6
        echo scan >$debug/kmemleak
    done
}
scan
leaks=$(grep -c derived $debug/kmemleak)
[ "$leaks" = 0 ] || cat $debug/kmemleak
echo "leaks at boot $leaks"
echo clear >$debug/kmemleak

# Allocations fail where one asks for it, those that could wait as well.
for kind in failslab fail_page_alloc; do
    echo N >$debug/$kind/ignore-gfp-wait
    echo 0 >$debug/$kind/verbose
    echo Y >$debug/$kind/task-filter
    echo -1 >$debug/$kind/times
    echo 0 >$debug/$kind/probability
done
echo 0 >$debug/fail_page_alloc/min-order
probability() {
    for kind in failslab fail_page_alloc; do
        echo "$1" >$debug/$kind/probability
    done
}

mkdir -p /sys/fs/cgroup/stress
echo $$ >/sys/fs/cgroup/stress/cgroup.procs || exit 1
# Its keys are to be collected soon.
echo 0 >/proc/sys/kernel/keys/gc_delay
part=$((operations / 4))

# stress NAME ARGUMENT...: each line with the name before it.
stress() {
    name=$1
    shift
    { /stress "$@" || echo "failed $?"; } | sed "s/^/$name: /"
}
stress nth nth
stress plain run $part 4 1
probability 5
stress allocations fail $part 4 2
probability 0

# The TPM is full, has a password, is taken out, and comes back, again and again.
trouble() {
    while [ -e /tmp/trouble ]; do
        load; load; load
        sleep 0.3
        for handle in 80000000 80000001 80000002; do flush $handle; done
        sleep 0.3
        set_owner_password
        sleep 0.1
        remove_owner_password
        sleep 0.3
        unbind
        sleep 0.2
        bind
        sleep 0.5
    done >/dev/null 2>&1
}
/stress run $part 4 3 >/tmp/stress.out 2>&1 &
stress=$!
while ! grep -qs ready /tmp/stress.out; do sleep 0.1; done
touch /tmp/trouble
trouble &
trouble=$!
wait $stress || echo "failed $?" >>/tmp/stress.out
rm /tmp/trouble
wait $trouble
sed 's/^/tpm: /' /tmp/stress.out
[ -e /dev/tpm0 ] || bind

# All at once.
probability 3
stress both fail $part 6 4
probability 0
echo $$ >/sys/fs/cgroup/cgroup.procs
selftest

# Nothing is left: no key, no object in the TPM, no memory.
keys=unknown
for time in 1 2 3 4 5 6 7 8 9 10; do
    keys=$(grep -cE ' (derived|derived-logon|\.derived) ' /proc/keys)
    [ "$keys" = 0 ] && break
    sleep 2
done
echo "keys left $keys"
handles
sed -n 's/^ *debug_locks: *\([0-9]*\)$/lockdep \1/p' /proc/lockdep_stats ||
    echo "lockdep unknown"
scan
leaks=$(grep -c '^unreferenced object' $debug/kmemleak)
[ "$leaks" = 0 ] || cat $debug/kmemleak
echo "leaks $leaks"

echo "tdk: what is planted" >/dev/kmsg
planted=$debug/derived-planted
cat $planted/inversion
for time in 1 2 3 4 5; do cat $planted/leak; done
scan
# By the function that has lost it, in planted.c.
if grep -q leak_get $debug/kmemleak; then
    echo "planted leak found"
else
    cat $debug/kmemleak
fi
cat $planted/bounds
cat $planted/overflow
:
