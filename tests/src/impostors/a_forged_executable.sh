# SPDX-License-Identifier: Apache-2.0 OR MIT
# Not stopped: from a user namespace, the kernel lets anybody exchange what it
# shows as the executable.
ask path path "$victim" "$program" forged "$victim"
ask checksum csum "$(sum "$victim")" "$program" forged "$victim"
