# SPDX-License-Identifier: Apache-2.0 OR MIT
# What root in userspace tries, to have what derived.root=kernel keeps for the
# kernel. tpm2-tools speak to the TPM.

mkdir /tmp/attack && cd /tmp/attack || exit 1
printf '\032\0tpm-derived-keys kernel v1' >unique
printf 'tpm-derived-keys kernel root v1' | sha256sum | cut -c1-64 |
    sed 's/../\\x&/g' >digest.text
printf "$(cat digest.text)" >digest
head -c 32 /dev/zero >zeros
common='fixedtpm|fixedparent|sensitivedataorigin|noda|sign'
export TSS2_LOG=all+NONE

# try NAME COMMAND...: writes "made NAME HEX" if it writes 32 bytes to `out`.
try() {
    name=$1
    shift
    rm -f out
    "$@" >/dev/null 2>err
    if [ -s out ]; then
        echo "made $name $(hexdump -v -e '/1 "%02x"' out)"
    else
        echo "failed $name: $(tr '\n' ' ' <err | cut -c1-200)"
    fi
}

# root ATTRIBUTES FILE: makes a root key, with the kernel's policy.
root() {
    tpm2 createprimary -C o -G hmac:sha256 -g sha256 -u unique -L policy -a "$common|$1" -c "$2"
    tpm2 flushcontext -t
}

# hmac [OPTION...]: has the kernel's root key compute.
hmac() {
    tpm2 hmac -c root.ctx -g sha256 -o out "$@" digest
}

# Another key, that does with a password.
with_password() {
    root 'userwithauth|adminwithpolicy' other.ctx && tpm2 hmac -c other.ctx -g sha256 -o out digest
}

# by_policy [OPTION...]: in a session in which the PCR is what it is, or said to be.
by_policy() {
    tpm2 startauthsession --policy-session -S session.ctx &&
        tpm2 policypcr -S session.ctx -l "sha256:$pcr" "$@" && hmac -p session:session.ctx
}

by_signature() {
    tpm2 startauthsession --policy-session -S session.ctx &&
        tpm2 policypcr -S session.ctx -l "sha256:$pcr" &&
        tpm2 sign -c root.ctx -g sha256 -s hmac -f plain -p session:session.ctx -d digest -o out
}

# A session for a policy of another kind than the key's.
by_password_policy() {
    tpm2 startauthsession --policy-session -S session.ctx && tpm2 policypassword -S session.ctx &&
        hmac -p session:session.ctx
}

# prepare: the key and its policy, whose digest needs no TPM that satisfies it.
prepare() {
    tpm2 startauthsession -S trial.ctx && tpm2 policypcr -S trial.ctx -l "sha256:$pcr" -f zeros -L policy
    tpm2 flushcontext trial.ctx
    root adminwithpolicy root.ctx
}

# session NAME COMMAND...: an attempt that leaves a session and an object.
session() {
    try "$@"
    tpm2 flushcontext session.ctx >/dev/null 2>&1
    tpm2 flushcontext -t >/dev/null 2>&1
}

# attack DEVICE: all of them.
attack() {
    export TPM2TOOLS_TCTI=device:$1
    prepare >/dev/null 2>&1
    [ -s policy ] && [ -s root.ctx ] || echo "no root key"
    try "$1:password" hmac
    session "$1:another_password" hmac -p x
    session "$1:with_password" with_password
    session "$1:by_password_policy" by_password_policy
    session "$1:by_signature" by_signature
    session "$1:policy" by_policy
    session "$1:claim" by_policy -f zeros
    tpm2 pcrreset "$pcr" >/dev/null 2>&1
    session "$1:reset" by_policy
    tpm2 shutdown >/dev/null 2>&1
    tpm2 startup -c >/dev/null 2>&1
    session "$1:startup" by_policy
}

# attack_again WHEN: what would be served if the PCR were zero again.
attack_again() {
    prepare >/dev/null 2>&1
    session "$1" by_policy
}

# pcr_value WHEN
pcr_value() {
    tpm2 pcrread "sha256:$pcr" -o value >/dev/null && echo "pcr $1 $(hexdump -v -e '/1 "%02x"' value)"
}

# capped WHEN: how often the PCR was extended by the kernel, and by nobody else.
capped() {
    tpm2 pcrread "sha256:$pcr" -o value >/dev/null || return
    value=$(hexdump -v -e '/1 "%02x"' value)
    event=$(printf 'Linux PCR cap v1' | hexdump -v -e '/1 "%02x"')00000000000000000000000000000000
    expected=$(hexdump -v -e '/1 "%02x"' zeros)
    for times in 0 1 2 3 4 otherwise; do
        [ "$value" = "$expected" ] && break
        expected=$(printf "$(echo "$expected$event" | sed 's/../\\x&/g')" | sha256sum | cut -c1-64)
    done
    echo "capped $1 $times"
}

# sleep_for NAME TEST: suspends, as far as that test of the kernel's goes. From
# memory the clock wakes it, by when it has to be asleep, on a busy host as well.
sleep_for() {
    echo "$2" >/sys/power/pm_test
    echo 0 >/sys/module/suspend/parameters/pm_test_delay
    echo 0 >/sys/class/rtc/rtc0/wakealarm
    echo +20 >/sys/class/rtc/rtc0/wakealarm
    if echo mem >/sys/power/state; then
        echo "slept $1"
    else
        echo "not slept $1"
    fi
}
