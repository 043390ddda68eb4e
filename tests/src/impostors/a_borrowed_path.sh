# SPDX-License-Identifier: Apache-2.0 OR MIT
# The attacker's program has the victim's path in a mount namespace of its own.
borrow='mount --bind "$own/program" "$victim"'
ask inside path EACCES unshare -Urm sh -ec "$borrow"'; exec "$@"' sh "$victim"

# It is executed there by a process that is in no namespace of its own.
elsewhere "$borrow"
ask outside path EACCES "$elsewhere$victim"
# By checksum it is what it is.
ask checksum csum "$(sum "$program")" "$elsewhere$victim"

# Nothing of the path but the victim's is left when the mount is gone.
elsewhere 'mkdir mount && mount -t tmpfs tmpfs mount &&
    mkdir -p "mount${victim%/*}" && cp program "mount$victim"'
late 'nsenter -t "$inside" -U -m --preserve-credentials umount -l "$own/mount"' \
    detached path EACCES "$elsewhere$own/mount$victim"

# And so the victim's own key.
ask victim path "$victim" "$victim"
