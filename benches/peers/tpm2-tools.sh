#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# The same key by a pipeline of tpm2-tools and openssl, for comparison: path identity,
# 32 bytes of type user, generation 0, no realm.
#
#   tpm2-tools.sh derive TCTI EXECUTABLE UID KEY-ID     prints the 32 bytes
#   tpm2-tools.sh --config FILE %k %t %d %c %u %g %S    as a callout; takes the asker's
#                                                       word, and nothing is checked
set -eu

# What a shell can do itself it does: each process costs.
octal() { # NUMBER BYTES: a big-endian integer, as printf takes it
    number=$1 size=$2 octal=
    while [ "$size" -gt 0 ]; do
        octal="\\0$((number / 64 % 4))$((number / 8 % 8))$((number % 8))$octal"
        number=$((number / 256)) size=$((size - 1))
    done
}

derive() { # EXECUTABLE UID KEY-ID
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    octal "$2" 4
    uid=$octal
    octal ${#1} 2
    printf '%b%s' "tpm-derived-keys identity v1\0000\0001\0001$uid\0000$octal" "$1" |
        openssl dgst -sha256 -binary >"$dir/digest"
    # What tpm2_createprimary takes is a structure in memory: the length comes first, and
    # as this machine stores numbers.
    printf '\023\000tpm-derived-keys v1' >"$dir/unique"
    tpm2_createprimary -Q -C o -g sha256 -G hmac:sha256 -u "$dir/unique" -c "$dir/root" \
        -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign'
    key=$(tpm2_hmac -c "$dir/root" -g sha256 --hex "$dir/digest")
    tpm2_flushcontext -t
    # "tpm-derived-keys key v1", 0, raw, readable, no parameter, generation 0, 32 bytes
    info=74706d2d646572697665642d6b657973206b657920763100010000000000000000
    info=${info}20$(printf '%04x%s' ${#3} "$(printf %s "$3" | od -An -v -tx1 | tr -d ' \n')")
    openssl kdf -binary -keylen 32 -kdfopt mode:EXPAND_ONLY -kdfopt digest:SHA256 \
        -kdfopt "hexkey:$key" -kdfopt "hexinfo:$info" HKDF
}

case $1 in
derive)
    export TPM2TOOLS_TCTI="$2"
    derive "$3" "$4" "$5"
    ;;
--config)
    TPM2TOOLS_TCTI=$(sed -n 's/^tcti = "\(.*\)"$/\1/p' "$2")
    export TPM2TOOLS_TCTI
    # The line of the authorisation key, which tells the asker's thread.
    asker=$(sed -n "s/.* key:$(printf %x "$3") pid:\([0-9]*\).*/\1/p" /proc/keys)
    derive "$(readlink "/proc/$asker/exe")" "$7" "${5#tpm2:derived:}" |
        keyctl pinstantiate "$3" 0
    ;;
*)
    echo "usage: see the head of this file" >&2
    exit 2
    ;;
esac
