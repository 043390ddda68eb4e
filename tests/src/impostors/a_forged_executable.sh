# SPDX-License-Identifier: Apache-2.0 OR MIT
# From a user namespace, the kernel lets anybody exchange what it shows as the
# executable; but the victim's file is not where the program was.
for kind in path csum; do
    ask "by $kind" $kind EACCES "$program" forged "$victim"
done
ask id id id "$program" forged "$victim"
