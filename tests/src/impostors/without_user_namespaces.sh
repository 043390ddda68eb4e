# SPDX-License-Identifier: Apache-2.0 OR MIT
# As root, who forbids user namespaces in the one way or the other: the executable
# can't be forged any more.
uid=1000
forge() {
    $as_user "$program" forged "$victim" request2 user "$description" "32 path" @s 2>&1 || true
}
cd /proc/sys/kernel
echo 0 >unprivileged_userns_clone
[ "$(forge)" = "clone: Operation not permitted" ]
echo 1 >unprivileged_userns_clone
cd /proc/sys/user
old=$(cat max_user_namespaces)
echo 0 >max_user_namespaces
[ "$(forge)" = "clone: No space left on device" ]
# Who asks honestly needs none.
ask honest path "$victim" $as_user "$victim"
echo "$old" >max_user_namespaces
