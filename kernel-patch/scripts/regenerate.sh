#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# regenerate.sh VERSION TREE BASE: writes the series for that version from the
# commits that a git repository has since BASE, with the cover letter of
# kernel-patch/cover-letter.txt (its first line is the subject).
set -eu

if [ $# -ne 3 ]; then
    echo "usage: regenerate.sh VERSION TREE BASE" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")/.." && pwd)
series=$here/$1
tree=$2
base=$3

mkdir -p "$series"
rm -f "$series"/*.patch
git -C "$tree" -c format.signature= format-patch --quiet --cover-letter --zero-commit \
    --numbered --subject-prefix="PATCH $1" --output-directory "$series" "$base"

cover=$series/0000-cover-letter.patch
python3 - "$cover" "$here/cover-letter.txt" <<'END'
import sys

cover, text = sys.argv[1:]
subject, body = open(text, encoding="utf-8").read().split("\n", 1)
with open(cover, encoding="utf-8") as file:
    letter = file.read()
letter = letter.replace("*** SUBJECT HERE ***", subject)
letter = letter.replace("*** BLURB HERE ***", body.strip())
with open(cover, "w", encoding="utf-8") as file:
    file.write(letter)
END
ls "$series"
