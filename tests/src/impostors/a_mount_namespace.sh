# SPDX-License-Identifier: Apache-2.0 OR MIT
# As root, without a user namespace: what services and containers of the system
# are in.
borrow='mount --bind program "$victim" && exec "$@"'
ask borrowed path EACCES unshare -m sh -ec "$borrow" sh "$victim"
ask checksum csum "$(sum program)" unshare -m sh -ec "$borrow" sh "$victim"

# Where the path leads to the same file, however it is mounted, it is its path.
ask shared path "$victim" unshare -m "$victim"
directory=${victim%/*}
export directory
ask read-only path "$victim" unshare -m sh -ec '
    mount --bind "$directory" "$directory"
    mount -o remount,bind,ro "$directory"
    ! touch "$directory/x" 2>/dev/null
    exec "$@"' sh "$victim"
