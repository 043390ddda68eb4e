# SPDX-License-Identifier: Apache-2.0 OR MIT
# To be sourced: what tests and demonstrations leave in /run/tdk. Each software
# TPM had a lock there; once the TPM is gone nobody needs it.

locks_before=$(ls /run/tdk 2>/dev/null || true)

# Removes the locks that have come since, unless somebody holds them.
remove_new_locks() {
    { printf '%s\n' "$locks_before"; ls /run/tdk 2>/dev/null; } | sort | uniq -u |
        while read -r name; do
            lock=/run/tdk/$name
            case $lock in
            *.lock) [ -e "$lock" ] && flock -n "$lock" rm -f "$lock" || true ;;
            esac
        done
}
