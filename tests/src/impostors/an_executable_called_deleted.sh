# SPDX-License-Identifier: Apache-2.0 OR MIT
cp program "x (deleted)"
ask path path EACCES "./x (deleted)"
ask checksum csum EACCES "./x (deleted)"
# Who it is does not matter to this one.
ask id id id "./x (deleted)"
