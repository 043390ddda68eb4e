# SPDX-License-Identifier: Apache-2.0 OR MIT
# Not stopped: whoever also maps the victim's file where the program's own headers
# were looks in all like the victim.
ask path path "$victim" "$program" forged "$victim" mapped "$victim"
ask checksum csum "$(sum "$victim")" "$program" forged "$victim" mapped "$victim"
