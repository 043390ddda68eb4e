# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The arithmetic and the request grammar of docs/derivation.md, version 1.

Written from that page alone. Pure functions: nothing here talks to a TPM or
to the system. What the page refuses raises ValueError.
"""

import hashlib
import hmac
import re
import struct
from dataclasses import dataclass

import det_keygen

IDENTITY_LABEL = b"tpm-derived-keys identity v1"
KEY_LABEL = b"tpm-derived-keys key v1"
DESCRIPTION_PREFIX = b"tpm2:derived:"

# Section 2, table: callout word -> kind.
KINDS = {b"path": 1, b"csum": 2, b"id": 3, b"cgroup": 4, b"verity": 5}

# Section 2, kind 5: digest sizes by FS_IOC_MEASURE_VERITY algorithm number
# (1 is SHA-256, 2 is SHA-512).
VERITY_DIGEST_SIZES = {1: 32, 2: 64}

# Section 4, table: alg numbers.
RAW, RSA, ECDSA, ED25519 = 1, 2, 3, 4

# Section 5, `what` words -> (alg, param, length) of section 4, table.
WHATS = {
    b"rsa2048": (RSA, 2048, 48),
    b"rsa3072": (RSA, 3072, 48),
    b"rsa4096": (RSA, 4096, 48),
    b"p256": (ECDSA, 256, 48),
    b"p384": (ECDSA, 384, 48),
    b"ed25519": (ED25519, 0, 32),
}

# Section 5, key types a request may name -> use of section 4.
USES = {"user": 0, "big_key": 0, "logon": 1, "asymmetric": 1}

MAX_RAW_LENGTH = 1024
MAX_U32 = 0xFFFFFFFF
MAX_UID = 4294967294


@dataclass(frozen=True)
class Request:
    """Section 5: what a key type, a description and a callout info ask for."""

    key_id: bytes
    kind: int
    scope: int
    alg: int
    use: int
    param: int
    generation: int
    length: int


def _number(word: bytes, low: int, high: int, name: str) -> int:
    """Section 5: decimal digits, no sign, no leading zeros, within bounds."""
    if re.fullmatch(rb"0|[1-9][0-9]*", word) is None:
        raise ValueError(f"{name} is not a plain decimal number: {word!r}")
    if len(word) > 10 or not low <= int(word) <= high:
        raise ValueError(f"{name} is not within {low} to {high}: {word!r}")
    return int(word)


def _parse_what(key_type: str, word: bytes) -> tuple[int, int, int]:
    """Section 5, `what`: (alg, param, length) of section 4."""
    if word in WHATS:
        alg, param, length = WHATS[word]
    elif word[:1].isalpha():
        raise ValueError(f"unknown word for what to derive: {word!r}")
    else:
        alg, param = RAW, 0
        length = _number(word, 1, MAX_RAW_LENGTH, "length")
    if key_type == "asymmetric":
        if alg == RAW:
            return WHATS[b"rsa2048"]
        if alg != RSA:
            raise ValueError(f"key type asymmetric does not take {word!r}")
    return alg, param, length


def _parse_key_id(description: bytes) -> bytes:
    """Section 4, key id: 1 to 255 bytes after the prefix, any byte but 0."""
    if not description.startswith(DESCRIPTION_PREFIX):
        raise ValueError("description does not begin with tpm2:derived:")
    key_id = description[len(DESCRIPTION_PREFIX) :]
    if not 1 <= len(key_id) <= 255:
        raise ValueError(f"key id has {len(key_id)} bytes, not 1 to 255")
    if 0 in key_id:
        raise ValueError("key id has a zero byte")
    return key_id


def parse_request(key_type: str, description: bytes, info: bytes) -> Request:
    """Section 5: the grammar. ValueError for anything that is not in it."""
    if key_type not in USES:
        raise ValueError(f"unknown key type: {key_type!r}")
    key_id = _parse_key_id(description)

    # Spaces and tabs only: bytes.split() would take other white space too.
    words = [word for word in re.split(rb"[ \t]+", info) if word]
    if len(words) < 2:
        raise ValueError("callout info does not name both what and an identity")
    alg, param, length = _parse_what(key_type, words[0])
    if words[1] not in KINDS:
        raise ValueError(f"unknown identity word: {words[1]!r}")

    generation, scope = 0, 1
    seen: set[bytes] = set()
    for word in words[2:]:
        name = word.partition(b"=")[0]
        if name in seen:
            raise ValueError(f"option given twice: {word!r}")
        seen.add(name)
        if word.startswith(b"gen="):
            generation = _number(word[4:], 0, MAX_U32, "generation")
        elif word == b"scope=any":
            scope = 0
        elif word != b"v=1":
            raise ValueError(f"unknown option: {word!r}")

    return Request(
        key_id=key_id,
        kind=KINDS[words[1]],
        scope=scope,
        alg=alg,
        use=USES[key_type],
        param=param,
        generation=generation,
        length=length,
    )


def check_path(what: str, path: bytes) -> None:
    """Section 2, table: what a path or cgroup value may look like."""
    if not path.startswith(b"/") or any(
        part in (b"", b".", b"..") for part in path[1:].split(b"/")
    ):
        raise ValueError(f"{what} is not absolute and canonical")
    if b"\0" in path or path.endswith(b" (deleted)"):
        raise ValueError(f"{what} has a byte 0 or ends in ' (deleted)'")


def check_value(kind: int, value: bytes) -> None:
    """Section 2, table: the sizes and forms an identity value may have."""
    size = len(value)
    if kind == 1 and not 1 <= size <= 4095:
        raise ValueError(f"path has {size} bytes, not 1 to 4095")
    if kind in (1, 4):
        check_path("path" if kind == 1 else "cgroup path", value)
    if kind == 2 and size != 32:
        raise ValueError(f"csum value has {size} bytes, not 32")
    if kind == 3 and size != 0:
        raise ValueError(f"id value has {size} bytes, not 0")
    if kind == 4 and not 2 <= size <= 4095:
        raise ValueError(f"cgroup path has {size} bytes, not 2 to 4095")
    if kind == 5:
        if size < 2:
            raise ValueError("verity value has no algorithm number")
        (algorithm,) = struct.unpack(">H", value[:2])
        if VERITY_DIGEST_SIZES.get(algorithm) != size - 2:
            raise ValueError(
                f"verity value: algorithm {algorithm} with a digest of {size - 2} bytes"
            )
    if not 1 <= kind <= 5:
        raise ValueError(f"unknown kind: {kind}")


def identity_bytes(
    kind: int, scope: int, uid: int | None, realm: bytes, value: bytes
) -> bytes:
    """Section 2. With scope 0 the asker's uid does not matter and may be None,
    but 4294967295 is nobody's."""
    check_value(kind, value)
    if len(realm) > 64:
        raise ValueError(f"realm has {len(realm)} bytes, not 0 to 64")
    if uid == MAX_UID + 1:
        raise ValueError(f"uid {uid} is no user's")
    if scope == 0:
        uid = 0
    elif scope != 1:
        raise ValueError(f"unknown scope: {scope}")
    elif uid is None or not 0 <= uid <= MAX_UID:
        raise ValueError(f"uid is not within 0 to {MAX_UID}: {uid}")
    return (
        IDENTITY_LABEL
        + b"\0"
        + struct.pack(">BBI", kind, scope, uid)
        + struct.pack(">B", len(realm))
        + realm
        + struct.pack(">H", len(value))
        + value
    )


def identity_digest(identity: bytes) -> bytes:
    """Section 3: SHA-256 of the identity bytes."""
    return hashlib.sha256(identity).digest()


def identity_key_from_secret(root_secret: bytes, digest: bytes) -> bytes:
    """Section 3, for a root key whose secret value is known: HMAC(k, digest)."""
    if len(digest) != 32:
        raise ValueError("the root key computes over 32-byte digests only")
    return hmac.new(root_secret, digest, hashlib.sha256).digest()


def key_info(request: Request) -> bytes:
    """Section 4."""
    return (
        KEY_LABEL
        + b"\0"
        + struct.pack(">BBH", request.alg, request.use, request.param)
        + struct.pack(">IH", request.generation, request.length)
        + struct.pack(">H", len(request.key_id))
        + request.key_id
    )


def hkdf_expand(prk: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 section 2.3 over SHA-256."""
    if not 0 < length <= 255 * 32:
        raise ValueError(f"HKDF-Expand can't make {length} bytes")
    okm, block, counter = b"", b"", 0
    while len(okm) < length:
        counter += 1
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        okm += block
    return okm[:length]


def okm(identity_key: bytes, request: Request) -> bytes:
    """Section 4: the output keying material of a request."""
    return hkdf_expand(identity_key, key_info(request), request.length)


def payload(request: Request, material: bytes) -> bytes:
    """Section 6, payload bytes: for alg 1, okm itself, for others PKCS#8."""
    if request.alg == RAW:
        return material
    name = {RSA: f"rsa{request.param}", ECDSA: f"p{request.param}", ED25519: "ed25519"}
    return det_keygen.pkcs8(name[request.alg], material)
