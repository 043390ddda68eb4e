# SPDX-License-Identifier: Apache-2.0 OR MIT
for kind in path csum id; do
    ask "by $kind" $kind EACCES "$program" traced
done
