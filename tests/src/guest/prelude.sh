# SPDX-License-Identifier: Apache-2.0 OR MIT
# What the scripts in guests share.

hexdump() {
    /run/tdk-guest/busybox hexdump "$@"
}

# ask COMMAND...: runs a command in a session keyring of its own, and writes one
# line for its output: "key HEX", or "error WHAT IT SAID".
ask() {
    if keyctl session - "$@" >/tmp/out 2>/tmp/err; then
        echo "key $(hexdump -v -e '/1 "%02x"' /tmp/out)"
    else
        echo "error $(tr '\n' ' ' </tmp/err)"
    fi
}

# The request command's key, read.
read_key='key=$("$@" @s) && exec keyctl pipe $key'

# Writes "handles COUNT" for what is loaded in the TPM itself: what the resource
# manager would flush at the latest.
handles() {
    loaded handles '\200'
}

# loaded WORD FIRST: writes a word, and how many handles there are from FIRST on: their
# first byte, as printf(1) has it.
loaded() {
    # TPM2_GetCapability, handles.
    exec 9<>/dev/tpm0
    # shellcheck disable=SC2059
    printf "\200\1\0\0\0\26\0\0\1\172\0\0\0\1$2\0\0\0\0\0\0\376" >&9
    answer=$(dd bs=4096 count=1 <&9 2>/dev/null | hexdump -v -e '/1 "%02x"')
    exec 9>&-
    case $answer in
    8001????????0000000000????????*) echo "$1 $((0x$(echo "$answer" | cut -c31-38)))" ;;
    *) echo "$1 unknown: $answer" ;;
    esac
}
