# SPDX-License-Identifier: Apache-2.0 OR MIT
# As root, who has installed programs that others start and that are 1001 or root then.
# Who starts them can have a hand in what they do.
set_to() {
    cp program "$1"
    chown "$2" "$1"
    chmod "$3" "$1"
}
set_to daemon 1001:1001 4755
set_to roots 0:0 4755
set_to group 0:1001 2755
for kind in path csum; do
    uid=1001 ask "as another by $kind" $kind EACCES $as_user "$own/daemon"
    uid=1001 ask "wholly by $kind" $kind EACCES $as_user "$own/daemon" wholly
    uid=0 ask "as root by $kind" $kind EACCES $as_user "$own/roots"
    uid=0 ask "wholly as root by $kind" $kind EACCES $as_user "$own/roots" wholly
    uid=1001 ask "acting for another by $kind" $kind EACCES \
        $as_user "$own/roots" wholly acting 1001
    uid=1000 ask "of a group by $kind" $kind EACCES $as_user "$own/group"
    uid=1000 ask "wholly of a group by $kind" $kind EACCES $as_user "$own/group" wholly
done
# Whose it is is beyond doubt.
uid=1001 ask id id id $as_user "$own/daemon"

# Root has no need of such a program, and can be anybody.
ask root path "$own/roots" "$own/roots"
uid=1001 ask "acting for another" path "$own/program" "$program" acting 1001
uid=1001 ask "from root" path "$own/program" \
    /usr/bin/setpriv --reuid 1001 --regid 1001 --clear-groups "$program"
