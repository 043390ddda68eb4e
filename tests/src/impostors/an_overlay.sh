# SPDX-License-Identifier: Apache-2.0 OR MIT
# The attacker's program is in an overlay, where the victim is in the real directory.
mkdir above work
cp program "above/${victim##*/}"
layers="lowerdir=${victim%/*},upperdir=$own/above,workdir=$own/work,userxattr"
overlay='mount -t overlay -o "'$layers'" overlay "${victim%/*}"'
ask inside path EACCES unshare -Urm sh -ec "$overlay"'; exec "$@"' sh "$victim"
elsewhere "$overlay"
ask outside path EACCES "$elsewhere$victim"

# The victim's own file is there with its own inode number, but as another file.
mkdir empty work2
layers="lowerdir=${victim%/*},upperdir=$own/empty,workdir=$own/work2,userxattr"
elsewhere 'mount -t overlay -o "'$layers'" overlay "${victim%/*}"'
[ "$(stat -c %i "$elsewhere$victim")" = "$(stat -c %i "$victim")" ]
cmp "$elsewhere$victim" "$victim"
ask unchanged path EACCES "$elsewhere$victim"

# What lies below an overlay of one's own may be a FUSE file system of one's own.
ask "by its content" csum EACCES "$elsewhere$victim"
