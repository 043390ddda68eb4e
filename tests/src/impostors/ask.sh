#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# ask WHAT KIND EXPECTED COMMAND...: has COMMAND ask for $description as $uid, in a
# session keyring of its own, to be known by KIND. EXPECTED is an errno; or what
# the key has to be derived from: the path of an executable, sum:SHA-256, or id.
# Prints one line of it: WHAT|KIND|UID|EXPECTED|key HEX, or ...|error TEXT.
asked=$1\|$2\|$uid\|$3 info="32 $2"
shift 3
answer=$(keyctl session - sh -c 'key=$("$@") && exec keyctl print $key' sh \
    "$@" request2 user "$description" "$info" @s 2>&1)
case $answer in
*:hex:*) echo "$asked|key ${answer##*:hex:}" ;;
*) echo "$asked|error "$answer ;;
esac
