#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Writes derived_vectors.h: the table of the KUnit suite.

The requests are those of tests/golden/keys.jsonl that the kernel can serve, and
those of the worked examples of docs/derivation.md. The keys are those of the
oracle, tests/oracle, for a root key whose secret is known: that of the examples.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(PROJECT / "tests/oracle"))

import derivation  # noqa: E402

SECRET = bytes(range(32))

# Of docs/derivation.md: key type, key id, callout info, uid, realm, value; and
# the key, as a check that this page and the table agree.
EXAMPLES = [
    (
        ("user", b"test", b"32 path", 1000, b"", b"/usr/bin/keyctl"),
        "e59e14e0eaa0b9325f5e55e37f2c895caff1a280b122822a786b73a65c04a883",
    ),
    (
        ("logon", b"disk", b"64 csum gen=1", 0, b"blue", hashlib.sha256(b"abc").digest()),
        "9619ca5da6a0a9bc2353664919c1c71f0c65c089c155320c26ceccf11c7a9a6f"
        "ced4effa8cd7c3bdd29af66e453d74278b04740d5f15a11ee3b03a6b3652bf6d",
    ),
    (
        ("big_key", b"a b;c", b"40 id", 4294967294, b"", b""),
        "7d3a5e902ed70619dad8eb8966ea13fbde4ef9251d16677983a3e99560969f64b9dde95e562764a9",
    ),
    (
        ("user", b"db", b"16 cgroup scope=any", 33, b"", b"/system.slice/nginx.service"),
        "d39ac95cbdf554b9b4b4f2e514e2bdcf",
    ),
]

# A value that is as long as can be.
LONGEST = b"/" + b"x" * 4094


def golden():
    """The requests of the golden keys, in the same form."""
    for line in (PROJECT / "tests/golden/keys.jsonl").read_text().splitlines():
        entry = json.loads(line)
        field = {name: bytes.fromhex(entry[name]) for name in ("description", "info", "realm", "value")}
        key_id = field["description"].removeprefix(derivation.DESCRIPTION_PREFIX)
        yield (entry["type"], key_id, field["info"], entry["uid"], field["realm"], field["value"])


def derive(row):
    """The parsed request, the identity digest and the key of a row."""
    key_type, key_id, info, uid, realm, value = row
    request = derivation.parse_request(key_type, derivation.DESCRIPTION_PREFIX + key_id, info)
    identity = derivation.identity_bytes(request.kind, request.scope, uid, realm, value)
    digest = derivation.identity_digest(identity)
    key = derivation.identity_key_from_secret(SECRET, digest)
    return request, digest, derivation.okm(key, request)


def can_be_served(row):
    """Raw keys; and what C keeps in a string has no byte 0."""
    request, _, _ = derive(row)
    short = len(row[5]) <= 300
    return request.alg == derivation.RAW and 0 not in row[4] and short


def numbers(data):
    """Bytes of an initialiser."""
    lines = (data[at : at + 8] for at in range(0, len(data), 8))
    return "\n\t\t\t".join(", ".join(f"0x{byte:02x}" for byte in line) + "," for line in lines)


def text(data):
    """A string, as a literal if that is fit to be read."""
    if re.fullmatch(rb"[A-Za-z0-9 /:;=._-]{0,60}", data):
        return f'"{data.decode()}"'
    return f"(const u8 []){{\n\t\t\t{numbers(data + bytes(1))}\n\t\t}}"


def row_text(row):
    """One element of the table."""
    request, digest, okm = derive(row)
    _, key_id, info, uid, realm, value = row
    info_text = info.decode().replace("\t", "\\t")
    return f"""\t{{
\t\t.info = "{info_text}",
\t\t.key_id = {text(key_id)},
\t\t.uid = {uid}U,
\t\t.realm = {text(realm)},
\t\t.value = {text(value)},
\t\t.value_len = {len(value)},
\t\t.request = {{
\t\t\t.kind = {request.kind},
\t\t\t.scope = {request.scope},
\t\t\t.length = {request.length},
\t\t\t.generation = {request.generation}U,
\t\t}},
\t\t.use = {request.use},
\t\t.digest = {{
\t\t\t{numbers(digest)}
\t\t}},
\t\t.key_digest = {{
\t\t\t{numbers(hashlib.sha256(okm).digest())}
\t\t}},
\t}},"""


def main():
    """Writes the file to standard output."""
    for row, key in EXAMPLES:
        if derive(row)[2].hex() != key:
            sys.exit(f"the oracle gives another key for {row}")
    rows = [row for row, _ in EXAMPLES]
    rows += [row for row in golden() if can_be_served(row)]
    longest = derivation.identity_bytes(1, 1, 1000, b"r" * 64, LONGEST)
    digest = derivation.identity_digest(longest)
    body = "\n".join(row_text(row) for row in rows)
    print(f"""/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TPM derived keys: requests, and the keys that another implementation gives
 * for them and for a root key whose secret value is the bytes 0 to 31.
 *
 * Made by a program; keys never change.
 */

static const struct derived_vector derived_vectors[] = {{
{body}
}};

/* Of uid 1000 with the path "/xxx..." and the realm "rrr...", the longest. */
static const u8 derived_longest_digest[SHA256_DIGEST_SIZE] = {{
\t{numbers(digest).replace(chr(9) * 3, chr(9))}
}};""")


if __name__ == "__main__":
    main()
