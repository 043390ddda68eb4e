#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# count.sh LOG: how many tests passed and failed, as cargo and unittest counted them.
awk '
    /^test result:/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i - 1); if ($i ~ /^failed/) f += $(i - 1) } }
    /^Ran [0-9]+ tests? in/ { p += $2 }
    /^FAILED \(/ { n = $0; gsub(/[^0-9]+/, " ", n); m = split(n, c, " "); for (i = 1; i <= m; i++) { f += c[i]; p -= c[i] } }
    END { printf "%d passed, %d failed\n", p, f }
' "$1"
