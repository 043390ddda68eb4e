# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Recomputes the numbers that docs/derivation.md prints.

The inputs of a worked example are read from its sentence (key type,
description, callout info, asker), never from its numbers.
"""

import hashlib
import re
from dataclasses import dataclass

import derivation
import tpm

NUMBERS = ("identity bytes", "identity digest", "identity key", "key info", "okm")
MINIMUM_EXAMPLES = 4
COUNT_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


class PageError(Exception):
    """The page can't be read, or one of its numbers is wrong."""


@dataclass
class Asker:
    """What the end of an example's sentence says about the asking program."""

    uid: int | None = None
    any_uid: bool = False
    realm: bytes | None = None
    value: bytes = b""
    word: bytes = b"id"


def _hex_line(text: str, name: str) -> bytes:
    """The one line `name = hex groups` of the page."""
    found = re.findall(rf"^{name} = ([0-9a-f ]+)$", text, re.MULTILINE)
    if len(found) != 1:
        raise PageError(f"{len(found)} lines for {name!r} instead of one")
    return bytes.fromhex(found[0])


def _content(count: str, content: str) -> bytes:
    """An executable's content; its length is spelled out in the sentence."""
    if count not in COUNT_WORDS or COUNT_WORDS.index(count) != len(content.encode()):
        raise PageError(f"{content!r} is not {count} bytes")
    return content.encode()


def _asker(text: str) -> Asker:
    """The clauses after `asker:`; one that isn't understood is an error."""
    asker = Asker()
    # A comma within `quotes` does not end a clause.
    for clause in re.findall(r"(?:`[^`]*`|[^,`])+", text):
        clause = clause.strip()
        if match := re.fullmatch(r"uid ([0-9]+)", clause):
            asker.uid = int(match[1])
        elif clause == "any uid":
            asker.any_uid = True
        elif clause == "no realm":
            asker.realm = b""
        elif match := re.fullmatch(r"realm `([^`]+)`", clause):
            asker.realm = match[1].encode()
        elif match := re.fullmatch(r"executable `([^`]+)`", clause):
            asker.word, asker.value = b"path", match[1].encode()
        elif match := re.fullmatch(r"cgroup `([^`]+)`", clause):
            asker.word, asker.value = b"cgroup", match[1].encode()
        elif match := re.fullmatch(
            r"executable whose content is the (\w+) bytes `([^`]+)`", clause
        ):
            digest = hashlib.sha256(_content(match[1], match[2])).digest()
            asker.word, asker.value = b"csum", digest
        else:
            raise PageError(f"clause about the asker not understood: {clause!r}")
    if asker.realm is None or asker.any_uid == (asker.uid is not None):
        raise PageError(f"asker not fully described: {text!r}")
    return asker


def _printed(block: str) -> dict[str, bytes]:
    """The `name = hex` lines of an example, continuation lines joined."""
    printed: dict[str, str] = {}
    name = ""
    for line in block.splitlines():
        match = re.fullmatch(r"(?:([a-z ]*[a-z]) *= |  +)([0-9a-f]+)", line)
        if match is None or (match[1] is None and not name):
            raise PageError(f"line not understood: {line!r}")
        if match[1] is None:
            printed[name] += match[2]
            continue
        name = match[1]
        if name in printed or name not in NUMBERS:
            raise PageError(f"number unknown or printed twice: {name!r}")
        printed[name] = match[2]
    if tuple(printed) != NUMBERS:
        raise PageError(f"an example prints {list(printed)}")
    return {key: bytes.fromhex(value) for key, value in printed.items()}


def _check_example(root_secret: bytes, title: str, text: str) -> int:
    """Recompute one example; the number of numbers that agreed."""
    sentence, _, rest = text.partition("\n```\n")
    block, _, rest = rest.partition("\n```\n")
    # The sentence may be wrapped anywhere: join its lines.
    match = re.fullmatch(
        r"Type `([^`]+)`, description `([^`]+)`, callout info `([^`]+)`; asker: (.+)\.",
        sentence.strip().replace("\n", " "),
    )
    if match is None or "```" in rest:
        raise PageError(f"example not understood: {title}")
    asker = _asker(match[4])
    request = derivation.parse_request(match[1], match[2].encode(), match[3].encode())
    if derivation.KINDS[asker.word] != request.kind:
        raise PageError(f"{title}: the sentence describes another kind of asker")
    if asker.any_uid and request.scope != 0:
        raise PageError(f"{title}: any uid, but bound to a user")

    identity = derivation.identity_bytes(
        request.kind, request.scope, asker.uid, asker.realm or b"", asker.value
    )
    digest = derivation.identity_digest(identity)
    identity_key = derivation.identity_key_from_secret(root_secret, digest)
    computed = (
        identity,
        digest,
        identity_key,
        derivation.key_info(request),
        derivation.okm(identity_key, request),
    )
    printed = _printed(block)
    for name, number in zip(NUMBERS, computed):
        if printed[name] != number:
            raise PageError(f"{title}: {name} is {number.hex()}, not {printed[name].hex()}")
    return len(NUMBERS)


def _check_kernel_root(text: str, root_secret: bytes) -> int:
    """Section 7: its constants, and its key of example 1."""
    request = derivation.parse_request("user", b"tpm2:derived:test", b"32 path")
    identity = derivation.identity_bytes(
        request.kind, request.scope, 1000, b"", b"/usr/bin/keyctl"
    )
    secret = derivation.identity_key_from_secret(root_secret, tpm.KERNEL_ROOT_DIGEST)
    identity_key = derivation.identity_key_from_secret(
        secret, derivation.identity_digest(identity)
    )
    computed = {
        "kernel selection": tpm.pcr_selection(13),
        "kernel policy": tpm.kernel_policy(13),
        "kernel template": tpm.kernel_root_template(13),
        "kernel root digest": tpm.KERNEL_ROOT_DIGEST,
        "kernel secret": secret,
        "kernel identity key": identity_key,
        "kernel okm": derivation.okm(identity_key, request),
    }
    for name, number in computed.items():
        if _hex_line(text, name) != number:
            raise PageError(f"{name} is {number.hex()}")
    return len(computed)


def check(text: str) -> int:
    """Check the whole page; how many numbers were recomputed, or PageError."""
    if _hex_line(text, "template") != tpm.ROOT_TEMPLATE:
        raise PageError(f"template is {tpm.ROOT_TEMPLATE.hex()}")
    checked = 1
    _, heading, examples = text.partition("\n## Worked examples\n")
    if not heading:
        raise PageError("no worked examples")
    examples = examples.partition("\n## ")[0]
    root_secret = _hex_line(examples, "root secret")
    checked += _check_kernel_root(text, root_secret)
    parts = re.split(r"^### (.+)\n", examples, flags=re.MULTILINE)[1:]
    if len(parts) < 2 * MINIMUM_EXAMPLES:
        raise PageError(f"{len(parts) // 2} worked examples, fewer than {MINIMUM_EXAMPLES}")
    for title, body in zip(parts[::2], parts[1::2]):
        try:
            checked += _check_example(root_secret, title, body)
        except ValueError as error:
            raise PageError(f"{title}: {error}") from error
    return checked
