#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# A kernel with the series of kernel-patch/, booted with a software TPM, and a key
# that it has made in it.
set -eu
cd "$(dirname "$0")/.."

kernel=$(kernel-patch/scripts/build.sh "${1:-6.12}")
scripts/build.sh --quiet
script=$(mktemp)
trap 'rm -f "$script"' EXIT
cat >"$script" <<'END'
echo "Linux $(uname -r)"
cat >/tmp/keys <<'KEYS'
show() {
    echo "$ keyctl print \$(keyctl $* @s)"
    key=$(keyctl "$@" @s) && keyctl print "$key"
}
show add derived example "32 path"
echo "# asked for, it is the same, and so is the callout's"
show request2 derived example "32 path"
show request2 user tpm2:derived:example "32 path"
echo "# and who can't read it has another one"
show add derived-logon example "32 path"
keyctl show @s
KEYS
keyctl session - sh /tmp/keys 2>&1
END
target/dist/tdk-sim guest --kernel "$kernel" --script "$script" --time-limit 600
