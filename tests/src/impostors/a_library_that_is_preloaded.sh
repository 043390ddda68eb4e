# SPDX-License-Identifier: Apache-2.0 OR MIT
# Not stopped: the victim itself asks, and does what it was told to.
ask preloaded path "$victim" env LD_PRELOAD="$tools/asker.so" "$victim"
ask checksum csum "$(sum "$victim")" env LD_PRELOAD="$tools/asker.so" "$victim"
