# SPDX-License-Identifier: Apache-2.0 OR MIT
# The rest of init.sh where the system is Debian on a disk: /tdk/root goes into it,
# /tdk/libraries where it has none of that name, and systemd takes over.
tries=0
until [ -b /dev/vda ]; do
    [ "$tries" -lt 100 ] || fail "there is no disk"
    tries=$((tries + 1))
    sleep 0.05
done
mount -t ext4 -o noatime /dev/vda /mnt || fail "the disk has no file system"

put() {
    [ ! -d "/tdk/$1" ] || (cd "/tdk/$1" && find . ! -type d) | while read -r file; do
        # A link may lead somewhere only on the disk.
        if [ "$2" = replace ] || ! [ -e "/mnt/$file" -o -L "/mnt/$file" ]; then
            mkdir -p "/mnt/${file%/*}" && cp -a "/tdk/$1/$file" "/mnt/$file" || echo "$file"
        fi
    done
}
failed=$(put root replace && put libraries keep)
[ -z "$failed" ] || fail "can't be put onto the disk: $failed"

# Units of this boot alone.
mkdir -p /run/systemd
cp -a /tdk/units /run/systemd/system
cp -a /tdk/generators /run/systemd/system-generators
for mount in proc sys dev run; do
    mount --move "/$mount" "/mnt/$mount"
done
exec switch_root /mnt /usr/lib/systemd/systemd
