# SPDX-License-Identifier: Apache-2.0 OR MIT
# As root, who may mount where everybody sees it: a file is known by the name by
# which it was executed, as long as that name leads to it.
uid=1000
mkdir /place
mount --bind "${victim%/*}" /place
ask "directory in two places" path "/place/${victim##*/}" $as_user "/place/${victim##*/}"
ask "the first of them" path "$victim" $as_user "$victim"
umount /place
: >/file
mount --bind "$victim" /file
ask "file in two places" path /file $as_user /file
umount /file

# What root mounts over a name is what it names.
mount --bind program "$victim"
ask "mounted over the victim" path "$victim" $as_user "$victim"
umount "$victim"

# Hidden by a mount, or with a mount that is gone, there is a name no longer.
mkdir inner
cp program inner
mount --bind inner /place
late 'umount -l /place' gone path EACCES $as_user /place/program
late 'mount -t tmpfs tmpfs inner' hidden path EACCES $as_user "$own/inner/program"
umount inner
late 'mount --bind "$victim" inner/program' \
    "hidden by another file" path EACCES $as_user "$own/inner/program"
umount inner/program
late 'mount -t tmpfs tmpfs inner' \
    "hidden, by checksum" csum "$(sum program)" $as_user "$own/inner/program"
umount inner

# In an overlay.
mkdir below above work /overlay
cp program below
mount -t overlay -o "lowerdir=$own/below,upperdir=$own/above,workdir=$own/work" overlay /overlay
ask overlay path /overlay/program $as_user /overlay/program
late 'chmod 0711 /overlay/program' \
    "changed in an overlay" path /overlay/program $as_user /overlay/program
[ -e above/program ]
umount /overlay
