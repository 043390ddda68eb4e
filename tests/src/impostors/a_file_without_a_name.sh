# SPDX-License-Identifier: Apache-2.0 OR MIT
for kind in path csum; do
    ask "memory by $kind" $kind EACCES "$program" nameless
    cp program gone
    exec 4<gone
    rm gone
    ask "deleted by $kind" $kind EACCES /proc/self/fd/4
    exec 4<&-
done
# Executed by a descriptor, but there is a name.
exec 4<program
ask descriptor path "$program" /proc/self/fd/4
