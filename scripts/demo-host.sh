#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# The whole way of a key, before your eyes: a request to the live kernel, its
# upcall, our callout, a software TPM, and back. For as long as it runs there is
# one more line in /etc/request-key.d, for this one key.
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
    exec sudo "$PWD/scripts/demo-host.sh"
fi

# A session keyring of our own, so that nothing of the caller's is touched.
if [ "${1:-}" != in-session ]; then
    exec keyctl session - "$PWD/scripts/demo-host.sh" in-session
fi

work=$(mktemp -d /tmp/tdk-demo.XXXXXX)
chmod 0755 "$work"
rule=/etc/request-key.d/tdk-demo.conf
tpm=
. scripts/locks.sh
clean() {
    rm -f "$rule"
    [ -z "$tpm" ] || kill "$tpm" 2>/dev/null || true
    wait
    rm -rf "$work"
    remove_new_locks
}
trap clean EXIT
trap 'exit 1' INT TERM HUP

# Starts a software TPM on a state, and configures the callout for it.
start_tpm() {
    target/dist/tdk-sim swtpm --state "$work/$1" >"$work/tcti" 2>/dev/null &
    tpm=$!
    tries=0
    until [ -s "$work/tcti" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || { echo "the software TPM does not start" >&2; exit 1; }
        sleep 0.05
    done
    echo "tcti = \"$(cat "$work/tcti")\"" >"$work/config.toml"
    rm "$work/tcti"
}

stop_tpm() {
    kill "$tpm"
    wait "$tpm" || true
    tpm=
}

bold= normal=
if [ -t 1 ]; then
    bold=$(printf '\033[1m') normal=$(printf '\033[0m')
fi

# Shows a command as it would be typed.
show() {
    printf '\n%s# %s%s\n' "$bold" "$*" "$normal"
}

# Shows a command, and runs it.
run() {
    show "$*"
    "$@"
}

say() {
    printf '\n%s\n' "$*"
}

# ask NAME PROGRAM DESCRIPTION INFO: requests a key, shows it, and keeps its
# bytes as NAME for the table.
ask() {
    name=$1 program=$2 description=$3 info=$4
    show "$program request2 user $description \"$info\" @s"
    key=$("$program" request2 user "$description" "$info" @s)
    echo "$key"
    run keyctl print "$key"
    keyctl pipe "$key" >"$work/$name.key"
    run keyctl unlink "$key" @s
}

rows=
failed=0
# compare WHAT ONE OTHER same|other: a row of the table.
compare() {
    if cmp -s "$work/$2.key" "$work/$3.key"; then seen=same; else seen=other; fi
    verdict=ok
    [ "$seen" = "$4" ] || { verdict=WRONG failed=1; }
    rows="$rows$(printf '%-46s %-8s %-6s %s' "$1" "$4" "$seen" "$verdict")
"
}

start_tpm first
# Names the type and the key, so that it outranks the line of an installed
# callout, and concerns nobody else's keys.
echo "create user tpm2:derived:test * $PWD/target/dist/key.tpm2_derived --config $work/config.toml %k %t %d %c %u %g %S" >"$rule"

say "A program asks the kernel for a key of its own. Nobody has stored it."
ask first keyctl tpm2:derived:test "32 path"

say "The key is gone (it was unlinked). Asked for again, it is the same."
ask again keyctl tpm2:derived:test "32 path"

say "Another program, were it only a copy elsewhere, gets another key."
run cp /usr/bin/keyctl "$work/keyctl"
ask copy "$work/keyctl" tpm2:derived:test "32 path"

say "So does another user."
as_user="setpriv --reuid 1000 --regid 1000 --clear-groups keyctl session -"
script='keyctl print $(keyctl request2 user tpm2:derived:test "32 path" @s)'
show "$as_user sh -c '$script'"
$as_user sh -c "$script"
$as_user sh -c "$(echo "$script" | sed 's/keyctl print/exec keyctl pipe/')" >"$work/user.key" 2>"$work/said"

say "By checksum, the program's name does not matter, but each byte of it does."
ask csum keyctl tpm2:derived:test "32 csum"
ask csum_copy "$work/keyctl" tpm2:derived:test "32 csum"
run cp /usr/bin/keyctl "$work/changed"
show "printf x >>$work/changed"
printf x >>"$work/changed"
ask csum_changed "$work/changed" tpm2:derived:test "32 csum"

say "The TPM is switched off and on again: everything as before."
stop_tpm
start_tpm first
ask reboot keyctl tpm2:derived:test "32 path"
ask csum_reboot keyctl tpm2:derived:test "32 csum"

say "Another TPM: nothing as before."
stop_tpm
start_tpm second
ask other keyctl tpm2:derived:test "32 path"
ask csum_other keyctl tpm2:derived:test "32 csum"
stop_tpm

compare "path: asked for again"                         first again same
compare "path: from a copy of the program"              first copy other
compare "path: as another user"                         first user other
compare "path: after the TPM was restarted"             first reboot same
compare "path: with another TPM"                        first other other
compare "checksum instead of path"                      first csum other
compare "checksum: from a copy under another name"      csum csum_copy same
compare "checksum: from a copy with one byte more"      csum csum_changed other
compare "checksum: after the TPM was restarted"         csum csum_reboot same
compare "checksum: with another TPM"                    csum csum_other other

printf '\n%-46s %-8s %s\n' "compared with the first key of its kind" expected seen
printf '%s' "$rows"
if [ "$failed" = 0 ]; then
    say "All as expected. Nothing is left behind."
fi
exit "$failed"
