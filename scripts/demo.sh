#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# The whole way of a key, before your eyes, in virtual machines: a request to
# Debian's kernel, its upcall, our callout, a TPM device, and back. Nothing of
# this machine is touched, and no root is needed.
#
# The first TPM is that of tests/golden: so the keys are those of README.md, whose
# session is looked for in this one at the end.
set -eu
cd "$(dirname "$0")/.."
project=$PWD

work=$(mktemp -d "${TMPDIR:-/tmp}/tdk-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
# What a machine that is interrupted leaves goes with the rest.
export TMPDIR="$work"

cd "$work"
PATH=$project/target/dist:$PATH
cp "$project/target/dist/tdk" tdk
mkdir tpm
cp "$project"/tests/golden/swtpm/* tpm

# Passes a transcript on, with what was typed in bold on a terminal.
print() {
    if [ -t 1 ]; then
        sed -u "s/^[#\$] .*/$(printf '\033[1m')&$(printf '\033[0m')/"
    else
        cat
    fi
}

say() {
    printf '\n%s\n\n' "$*" | tee -a transcript | print
}

# boot PART KERNEL TPM: switches a machine on, with its part of the story.
boot() {
    { echo "part=$1"; cat "$project/scripts/demo-guest.sh"; } >"$1.sh"
    set -- guest --kernel "$2" --state "$3" --file tdk:/usr/bin/tdk --file /usr/bin/openssl:/usr/bin/openssl --module pkcs8_key_parser --script "$1.sh"
    {
        echo "\$ tdk-sim $*"
        tdk-sim "$@" 2>said || echo $? >failed
    } | tee -a transcript | print
    # What is no key is a complaint.
    sed -n 's/^key //p' said >>keys
    grep -v '^key ' said >&2 || true
    if [ -e failed ]; then
        printf '\ndemo: a command failed\n' >&2
        exit 1
    fi
}

rows=
failed=0
# compare WHAT ONE OTHER same|other: a row of the table.
compare() {
    one=$(sed -n "s/^$2 //p" keys)
    other=$(sed -n "s/^$3 //p" keys)
    if [ "$one" = "$other" ]; then seen=same; else seen=other; fi
    verdict=ok
    # Without its two keys there is nothing to be seen.
    [ "$seen" = "$4" ] && [ -n "$one" ] && [ -n "$other" ] || { verdict=WRONG failed=1; }
    rows="$rows$(printf '%-46s %-8s %-6s %s' "$1" "$4" "$seen" "$verdict")
"
}

say "A machine with Debian's kernel and a TPM is switched on."
boot first 6.12 tpm
say "It is switched off and, with the same TPM, on again: everything as before."
boot rebooted 6.12 tpm
say "And once more, with an older kernel: everything as before."
boot old_kernel 6.1 tpm
say "And with another TPM: nothing as before."
boot other_tpm 6.12 other-tpm

compare "path: asked for again"                         first again same
compare "path: from a copy of the program"              first copy other
compare "path: as another user"                         first user other
compare "path: made by hand, with tdk"                  first by_hand same
compare "path: after a reboot"                          first reboot same
compare "path: with another kernel"                     first kernel same
compare "path: with another TPM"                        first other other
compare "checksum instead of path"                      first csum other
compare "checksum: from a copy under another name"      csum csum_copy same
compare "checksum: from a copy with one byte more"      csum csum_changed other
compare "checksum: after a reboot"                      csum csum_reboot same
compare "checksum: with another TPM"                    csum csum_other other
compare "RSA: a signature by the key asked for again"   signature signature_again same
compare "RSA: after a reboot"                           signature signature_reboot same
compare "RSA: with another kernel"                      signature signature_kernel same
compare "RSA: with another TPM"                         signature signature_other other
compare "RSA: checksum instead of path"                 signature signature_csum other
compare "RSA: checksum: after a reboot"                 signature_csum signature_csum_reboot same
compare "RSA: checksum: with another kernel"            signature_csum signature_csum_kernel same

printf '\n%-46s %-8s %s\n' "compared with the first key of its kind" expected seen
printf '%s' "$rows"

# The session in README.md, or what it leaves of one, with the numbers of keys
# and versions as they come.
alike() {
    sed -E 's/\b[0-9]+\b/N/g' "$@"
}
awk '/^```/ { if (inside) exit; inside = 1; next } inside && NF && $0 != "..."' "$project/README.md" | alike >shown
alike transcript >seen
awk '
    NR == FNR { shown[++count] = $0; next }
    found < count && $0 == shown[found + 1] { found++ }
    END {
        if (count == 0 || found < count) {
            print "demo: README.md shows what was not seen: " shown[found + 1]
            exit 1
        }
    }
' shown seen >&2 || failed=1

if [ "$failed" = 0 ]; then
    printf '\nAll as expected. Nothing is left behind.\n'
fi
exit "$failed"
