# SPDX-License-Identifier: Apache-2.0 OR MIT
# A socket that encrypts with a key which the program only has the number of; and
# with the bytes that `/socket-key` has.
sealed() {
    echo "$1: $(perl /socket.pl "$2" "$3")"
}
add() {
    keyctl add "$1" socket "$2" @s
}

sealed "its bytes" bytes "$(cat /socket-key)"
key=$(add derived-logon "32 id") || exit 1
sealed "a key" serial "$key"
keyctl setperm "$key" 0x37370000 || exit 1
sealed "without permission to search" serial "$key"
keyctl setperm "$key" 0x28280000 || exit 1
sealed "with permission to search" serial "$key"
keyctl revoke "$key"
sealed "revoked" serial "$key"
sealed "of 33 bytes" serial "$(add derived-logon "33 id")"
sealed "another" serial "$(add derived-logon "32 id gen=1")"
sealed "a key that can be read" serial "$(add derived "32 id")"
