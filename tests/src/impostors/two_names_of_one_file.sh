# SPDX-License-Identifier: Apache-2.0 OR MIT
# As root, since hard links are for the owners of files. It is known by the name
# by which it was executed.
ln "$victim" "$own/second"
uid=1000
ask first path "$victim" $as_user "$victim"
ask second path "$own/second" $as_user "$own/second"
ask checksum csum "$(sum "$victim")" $as_user "$own/second"
rm "$own/second"
