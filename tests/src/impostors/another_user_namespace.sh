# SPDX-License-Identifier: Apache-2.0 OR MIT
# Whatever the user is there: root, or nobody.
for kind in path csum id; do
    ask "root by $kind" $kind EACCES unshare -Ur "$victim"
    ask "nobody by $kind" $kind EACCES unshare -U "$victim"
done
