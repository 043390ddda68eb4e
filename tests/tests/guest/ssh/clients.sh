# SPDX-License-Identifier: Apache-2.0 OR MIT
# What clients do to an agent, and what is left when it ends. What comes of it is in
# clients.txt.
exec 2>&1
unset SSH_AUTH_SOCK SSH_AGENT_PID
printf '\nclients\n'
cd /tmp
# A small key: it is made often.
agent="tdk ssh-agent --key-id a --what rsa2048 --identity id"
as() {
    uid=$1
    shift
    setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
}
await() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || { echo "in vain: $*"; return; }
        sleep 0.1
    done
}
no_key() {
    ! grep -q 'asymmetri tpm2:derived:' /proc/keys
}
no_directory() {
    ! ls -d tdk-ssh-*
}
nothing_left() {
    await no_key
    await no_directory
    echo nothing is left
}
count() {
    ssh-add -l | grep -c SHA256:
}

echo "== by each algorithm"
eval "$($agent)" >/dev/null
ssh-add -L >a.pub
cat a.pub >>/home/user/.ssh/authorized_keys
# by ALGORITHM: to a server that takes no other, which the client does, too.
by() {
    /usr/sbin/sshd -D -p 2222 -E log -o "PubkeyAcceptedAlgorithms=$1" &
    server=$!
    await grep -q 'Server listening' log
    ssh -p 2222 -o BatchMode=yes -o PubkeyAcceptedAlgorithms="$1" -o IdentitiesOnly=yes -i a.pub \
        user@server echo logged in 2>err
    echo "status $?"
    grep -o 'agent refused operation' err
    kill "$server"
    wait "$server"
    rm log
}
by rsa-sha2-256
by rsa-sha2-512
by ssh-rsa

echo "== signed by ssh-keygen"
echo text >text
ssh-keygen -q -Y sign -f a.pub -n file text
echo "me $(cat a.pub)" >signers
ssh-keygen -Y verify -f signers -I me -n file -s text.sig <text | sed 's/SHA256:.*/.../'

echo "== neither more keys nor fewer"
ssh-keygen -q -t ed25519 -N '' -f more
ssh-add -q more
ssh-add -q -d a.pub
ssh-add -q -D
count

echo "== messages that are none"
cat >say.pl <<'END'
use IO::Socket::UNIX;
$SIG{PIPE} = 'IGNORE';
sub connected { IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die $! }
# Prints the answer's beginning, or nothing if the agent hangs up.
sub say_it {
    my $socket = connected();
    syswrite $socket, $_[0];
    my $answer = '';
    sysread $socket, $answer, 9;
    print unpack('H*', $answer), "\n";
}
say_it(pack('N', 0));
say_it(pack('NC', 1, 200));
say_it(pack('NCa*', 6, 11, 'extra'));
say_it(pack('NC', 262144, 13) . 'x' x 262143);
say_it(pack('NC', 262145, 13));
say_it("GET / HTTP/1.0\r\n\r\n");
# Many that never say anything.
push @silent, connected() for 1 .. 100;
say_it(pack('NC', 1, 11));
END
perl say.pl
count

echo "== other users"
as 1001 ssh-add -l | sed 's/.*: //'
chmod 0755 "${SSH_AUTH_SOCK%/*}"
as 1001 ssh-add -l
chmod 0777 "$SSH_AUTH_SOCK"
as 1001 ssh-add -l
count
(
    eval "$(as 1000 $agent -a /home/user/agent)" >/dev/null
    ls -l "$SSH_AUTH_SOCK" | cut -d ' ' -f 1,3
    as 1000 ssh-add -L >b.pub
    # Root may.
    ssh-add -L | cmp - b.pub
    cmp -s a.pub b.pub || echo another key
    kill "$SSH_AGENT_PID"
    await test ! -e "$SSH_AUTH_SOCK"
)

echo "== somebody else's key of that name is passed by"
tdk det-keygen --what rsa2048 --seed 000102030405060708090a0b0c0d0e0f --format der >planted
keyctl session - sh -c "keyctl padd asymmetric tpm2:derived:a @s <planted >/dev/null
    $agent -- ssh-add -L" 2>/dev/null | cmp - a.pub && echo the same key

echo "== no file of its caller's is kept"
(
    exec 9>lock
    eval "$($agent)" >/dev/null
    # Standard ones, the socket, and those by which signals and the caller's end are seen.
    ls -l "/proc/$SSH_AGENT_PID/fd" | sed -n 's/.*-> //p' | grep -v -e /dev/null -e socket: -e anon_inode: -e pipe:
    kill "$SSH_AGENT_PID"
)

echo "== killed, it leaves no key"
kill -9 "$SSH_AGENT_PID"
await no_key
rm -r "${SSH_AUTH_SOCK%/*}"

echo "== with a command"
$agent -- sh -c 'echo "$SSH_AGENT_PID" >pid; exit 7'
echo "status $?"
await test ! -e "/proc/$(cat pid)"
nothing_left
# Also where the command has given up the power to signal it.
$agent -- sh -c 'echo "$SSH_AGENT_PID" >pid; exec setpriv --reuid 1000 --regid 1000 --clear-groups true'
await test ! -e "/proc/$(cat pid)"
nothing_left
$agent -- nonexistent
echo "status $?"

await no_key

echo "== what nobody is told of"
$agent >/dev/full
echo "status $?"
await no_key
as 1000 unshare --user $agent
echo "status $?"
nothing_left

echo "== at a place of its own"
pid() {
    sed -n 's/echo Agent pid \(.*\);/\1/p' said
}
# Not a child of this shell, which would remark on its end.
($agent -D -s -a socket >said &)
export SSH_AUTH_SOCK=/tmp/socket
await ssh-add -l
sed "s/$(pid)/PID/" said
$agent -a socket
echo "status $?"
kill -9 "$(pid)"
await no_key
# What that one has left is no obstacle.
$agent -c -a socket >said
sed "s/$(pid)/PID/" said
count
kill "$(pid)"
await test ! -e socket
echo mine >socket
$agent -a socket
echo "status $?"
cat socket

echo "== several keys"
tdk ssh-agent --key-id a --key-id b --what rsa2048 --identity id -- ssh-add -l | sed 's/SHA256:[^ ]*/.../'

echo "== a kernel that can't"
rmmod pkcs8_key_parser
$agent
echo "status $?"
nothing_left
