# SPDX-License-Identifier: Apache-2.0 OR MIT
# Nothing changes: so what follows is about the changes.
late true unharmed path "$program" "$program"
for kind in path csum; do
    cp program deleted
    late 'rm deleted' "deleted, by $kind" $kind EACCES "$own/deleted"
    cp program replaced
    late 'cp program new; mv new replaced' "replaced, by $kind" $kind EACCES "$own/replaced"
    # There is still a name of the file, but another.
    cp program linked
    late 'ln linked kept; rm linked; cp program linked' \
        "linked, by $kind" $kind EACCES "$own/linked"
    rm kept
done

# Moved, it is known by where it is.
cp program old
late 'mv old new' moved path "$own/new" "$own/old"
late 'mv new newer' "moved, by checksum" csum "$(sum program)" "$own/new"
mkdir here
cp program here
late 'mv here there' "moved with its directory" path "$own/there/program" "$own/here/program"
