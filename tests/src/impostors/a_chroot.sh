# SPDX-License-Identifier: Apache-2.0 OR MIT
# As root. In the root directory of the attacker's program, its path is the
# victim's.
mkdir -p "root${victim%/*}"
cp program "root$victim"
ask chroot path "$own/root$victim" chroot root "$victim"
ask chroot_by_id id id chroot root "$victim"

# A user can have that only in a user namespace.
uid=1000 ask user path EACCES $as_user unshare -Ur chroot root "$victim"

# As containers do it, in a mount namespace with another file system as root.
contain='mount --bind root root && cd root && mount --move . / && exec chroot . "$@"'
ask container path EACCES unshare -m sh -ec "$contain" sh "$victim"
ask container_by_checksum csum "$(sum program)" unshare -m sh -ec "$contain" sh "$victim"
