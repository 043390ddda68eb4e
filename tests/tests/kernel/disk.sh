# SPDX-License-Identifier: Apache-2.0 OR MIT
# Writes to a disk, and reads it with the key made anew, with none, with that of
# another generation, and with the bytes that `/disk-key` has.
try() {
    dmsetup --noudevsync create secret --table "0 2048 crypt aes-xts-plain64 $1 0 /dev/loop0 0" 2>/tmp/err ||
        { sed -n 's/.*: //p' /tmp/err | head -n 1; return 1; }
}
close() { dmsetup --noudevsync remove secret; }
read_disk() {
    try "$1" || return
    dd if=/dev/dm-0 bs=16 count=1 2>/dev/null | grep -ac 'under the rose 7'
    close
}
head -c 1048576 /dev/zero >/tmp/disk
losetup /dev/loop0 /tmp/disk || exit 1
logon=:64:derived-logon:disk

echo "without $(read_disk $logon)"
keyctl add derived-logon disk "64 id" @s >/dev/null || exit 1
try $logon && [ -b /dev/dm-0 ] || exit 1
echo 'under the rose 7' | dd of=/dev/dm-0 conv=fsync 2>/dev/null
dmsetup table --showkeys secret | grep -o "$logon"
close
echo "plain $(grep -ac 'under the rose 7' /tmp/disk)"
keyctl clear @s
echo "gone $(read_disk $logon)"
keyctl request2 derived-logon disk "64 id" @s >/dev/null
echo "again $(read_disk $logon)"
keyctl add derived-logon disk "64 id gen=1" @s >/dev/null
echo "another $(read_disk $logon)"
keyctl add derived-logon disk "32 id" @s >/dev/null
echo "short $(read_disk $logon)"
keyctl clear @s
keyctl add derived disk "64 id" @s >/dev/null
echo "readable $(read_disk $logon)"
echo "its bytes $(read_disk $(cat /disk-key))"
