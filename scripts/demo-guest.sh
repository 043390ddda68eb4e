# SPDX-License-Identifier: Apache-2.0 OR MIT
# What the demonstration's machines run; scripts/demo.sh puts before it which
# part it is to be. To the host's standard error, which is descriptor 3 here, it
# only writes the keys for the table.

# Shows a command as it would be typed.
show() {
    printf '# %s\n' "$1"
}

# In a session keyring of its own: without one each command would get another.
if [ "${1:-}" != in-session ]; then
    exec 3>&2 2>&1
    show "keyctl session"
    exec keyctl session - sh "$0" in-session
fi
set -eu

# Shows a command, and runs it. Its output is also in $said.
run() {
    show "$1"
    status=0
    said=$(eval "$1") || status=$?
    [ -z "$said" ] || printf '%s\n' "$said"
    return "$status"
}

# The same for one that has to fail.
refused() {
    if run "$1"; then
        echo "that should have been refused" >&2
        exit 1
    fi
}

say() {
    printf '\n%s\n\n' "$*"
}

# ask NAME PROGRAM INFO [END]: requests a key, shows it, drops it, and keeps its
# bytes as NAME for the table.
ask() {
    run "$2 request2 user tpm2:derived:test \"$3\" @s${4:-}"
    key=$said
    run "keyctl print $key"
    keep "$1" "$said"
    run "keyctl unlink $key @s"
}

# sign NAME INFO: requests an RSA key, has the kernel sign with it, drops it, and
# keeps the signature's sum as NAME for the table.
sign() {
    run "keyctl request2 asymmetric tpm2:derived:test \"$2\" @s"
    key=$said
    run "keyctl pkey_sign $key 0 /tmp/digest enc=pkcs1 hash=sha256 >/tmp/signature"
    run "sha256sum /tmp/signature"
    keep "$1" "${said%% *}"
    run "keyctl unlink $key @s"
}

keep() {
    echo "key $1 ${2#:hex:}" >&3
}

run "uname -r"

case $part in
first)
    say "A program asks the kernel for a key of its own. Nobody has stored it."
    ask first keyctl "32 path"

    say "The key is gone (it was unlinked). Asked for again, it is the same."
    ask again keyctl "32 path"

    say "Another program, were it only a copy elsewhere, gets another key."
    run "cp /usr/bin/keyctl /tmp/keyctl"
    ask copy /tmp/keyctl "32 path"

    say "So does another user."
    ask user "su user -c 'keyctl" "32 path" "'"

    say "By checksum, the program's name does not matter, but each byte of it does."
    ask csum keyctl "32 csum"
    ask csum_copy /tmp/keyctl "32 csum"
    run "cp /usr/bin/keyctl /tmp/changed"
    run "echo >>/tmp/changed"
    ask csum_changed /tmp/changed "32 csum"

    say "An RSA key stays in the kernel, which signs with it. Nobody can read it."
    run "echo hello >/tmp/hello"
    run "openssl dgst -sha256 -binary /tmp/hello >/tmp/digest"
    sign signature "rsa2048 path"

    say "Dropped and asked for again, it signs as before."
    sign signature_again "rsa2048 path"
    sign signature_csum "32 csum"

    say "Its public key can be made by hand, and verifies that."
    run "tdk derive --public --type asymmetric --what 32 --identity csum --value $(sha256sum /usr/bin/keyctl | cut -c 1-64) --uid 0 --key-id test >/tmp/public.pem"
    run "openssl dgst -sha256 -verify /tmp/public.pem -signature /tmp/signature /tmp/hello"

    say "A program that has borrowed another's name gets nothing. The log says why."
    refused "unshare -m sh -c 'mount --bind /tmp/keyctl /usr/bin/keyctl && keyctl request2 user tpm2:derived:db \"32 path\" @s'"
    run "dmesg | grep key.tpm2_derived | tail -n 1"

    say "By hand, for recovery: which TPM seed this is, and the first key once more."
    run "tdk root"
    run "tdk derive --what 32 --identity path --value /usr/bin/keyctl --uid 0 --key-id test"
    keep by_hand "$said"
    ;;
rebooted)
    ask reboot keyctl "32 path"
    ask csum_reboot keyctl "32 csum"
    run "echo hello | openssl dgst -sha256 -binary >/tmp/digest"
    sign signature_reboot "rsa2048 path"
    sign signature_csum_reboot "32 csum"
    ;;
old_kernel)
    ask kernel keyctl "32 path"
    run "echo hello | openssl dgst -sha256 -binary >/tmp/digest"
    sign signature_kernel "rsa2048 path"
    sign signature_csum_kernel "32 csum"
    ;;
other_tpm)
    ask other keyctl "32 path"
    ask csum_other keyctl "32 csum"
    run "echo hello | openssl dgst -sha256 -binary >/tmp/digest"
    sign signature_other "rsa2048 path"
    run "tdk root"
    ;;
esac
