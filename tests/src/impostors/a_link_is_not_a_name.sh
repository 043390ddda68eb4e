# SPDX-License-Identifier: Apache-2.0 OR MIT
ln -s "$victim" link
ask file path "$victim" ./link
mkdir -p usr/bin
ln -s usr/bin bin
cp program usr/bin
ask directory path "$own/usr/bin/program" bin/program
ask "real directory" path "$own/usr/bin/program" usr/bin/program
# As Debian has it.
ask bin path /usr/bin/keyctl /bin/keyctl
