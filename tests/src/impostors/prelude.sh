# SPDX-License-Identifier: Apache-2.0 OR MIT
# What the impostors share. They are given
#   $victim       a keyctl(1) that only root can change
#   $own          a directory of the attacker's, where they start
#   $tools        ask, asker and asker.so
#   $description  for which key to ask
set -eu
cd "$own"
PATH=$tools:$PATH
uid=$(id -u)
export uid
# What the attacker has brought along.
program=$own/program
cp "$tools/asker" "$program"

# To be asked by as an ordinary user, where the attacker is not one.
as_user="/usr/bin/setpriv --reuid 1000 --regid 1000 --clear-groups"

sum() {
    echo "sum:$(sha256sum "$1" | cut -d ' ' -f 1)"
}

# elsewhere SCRIPT: a process in user and mount namespaces of its own in which
# SCRIPT was run. $elsewhere is its root directory as others see it, $inside its
# process id.
inside=
trap '[ -z "$inside" ] || kill "$inside"' EXIT
elsewhere() {
    [ -z "$inside" ] || kill "$inside"
    rm -f ready
    unshare -Urm sh -ec "$1"'; : >ready; exec sleep 60' &
    inside=$!
    elsewhere=/proc/$inside/root
    until [ -e ready ]; do
        kill -0 "$inside"
        sleep 0.05
    done
}

# late CHANGE WHAT KIND EXPECTED COMMAND...: COMMAND, at the end of which there is
# a copy of asker, runs, but asks only after CHANGE.
late() {
    change=$1
    shift
    rm -f gate
    mkfifo gate
    ask "$@" late "$own/gate" &
    asking=$!
    # Waits for the program.
    exec 3>gate
    eval "$change"
    exec 3>&-
    wait "$asking"
}
