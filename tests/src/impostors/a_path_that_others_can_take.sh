# SPDX-License-Identifier: Apache-2.0 OR MIT
# As root, who lets others write where 1000 has a program.
uid=1000
place() {
    mkdir "$1"
    cp program "$1"
    chown -R 1000:1000 "$1"
}
place open
ask "nobody else" path "$own/open/program" $as_user "$own/open/program"
for mode in 0777 0775; do
    chmod $mode open
    ask "directory $mode" path EACCES $as_user "$own/open/program"
    ask "checksum $mode" csum "$(sum program)" $as_user "$own/open/program"
done
mkdir open/inner
mv open/program open/inner
ask above path EACCES $as_user "$own/open/inner/program"

# Nobody else removes it from there.
chmod 1777 open
mv open/inner/program open
ask sticky path "$own/open/program" $as_user "$own/open/program"
for mode in 0775 0757; do
    chmod $mode open/program
    ask "program $mode" path EACCES $as_user "$own/open/program"
done
chmod 0755 open/program
chown 1001 open/program
ask "another's" path EACCES $as_user "$own/open/program"
chown 0 open/program
ask "root's" path "$own/open/program" $as_user "$own/open/program"
chown 1001 open
ask "in another's" path EACCES $as_user "$own/open/program"
