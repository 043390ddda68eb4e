# SPDX-License-Identifier: Apache-2.0 OR MIT
# Commands of the TPM's own, sent past the resource manager.

# tpm HEX...: sends a command, and writes the answer's return code.
tpm() {
    exec 9<>/dev/tpm0 || return
    printf "$(echo "$*" | sed 's/ //g; s/../\\x&/g')" >&9
    dd bs=4096 count=1 <&9 2>/dev/null | hexdump -v -e '/1 "%02x"' | cut -c13-20
    exec 9>&-
}

# Sets the owner's password, and removes it again: TPM2_HierarchyChangeAuth.
set_owner_password() {
    tpm 8002 0000001e 00000129 40000001 00000009 40000009 0000 00 0000 0001 78
}
remove_owner_password() {
    tpm 8002 0000001e 00000129 40000001 0000000a 40000009 0000 00 0001 78 0000
}

# Makes a primary key and leaves it there: TPM2_CreatePrimary. And flushes it.
load() {
    tpm 8002 0000003a 00000131 40000001 00000009 40000009 0000 00 0000 \
        0004 0000 0000 \
        0011 0008 000b 00040472 0000 0005 000b 0001 78 \
        0000 00000000
}
flush() {
    tpm 8001 0000000e 00000165 "$1"
}

# The driver that the TPM has, and its device there.
driver=$(readlink -f /sys/class/tpm/tpm0/device/driver)
device=$(basename "$(readlink -f /sys/class/tpm/tpm0/device)")
unbind() {
    echo "$device" >"$driver/unbind"
}
bind() {
    echo "$device" >"$driver/bind"
}
