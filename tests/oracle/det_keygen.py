# SPDX-License-Identifier: Apache-2.0 OR MIT
"""RSA and ECDSA keys from seeds by https://c2sp.org/det-keygen, and Ed25519 keys.

Written from that page, RFC 5208, 5915, 8017 and 8410 alone, with Python's
integers. Slow, and careless about time and memory: for checking others.
"""

import hashlib
import hmac
import random
from math import gcd

E = 65537

# SP 800-186, section 3.2.1: p, b, order, base point; the OID's DER is that of
# RFC 5480, section 2.1.1.1.
CURVES = {
    "p256": (
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        (
            0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
            0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
        ),
        bytes.fromhex("06082a8648ce3d030107"),
        b"det ECDSA key gen P-256",
    ),
    "p384": (
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
        (
            0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
            0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
        ),
        bytes.fromhex("06052b81040022"),
        b"det ECDSA key gen P-384",
    ),
}


class Drbg:
    """HMAC_DRBG with SHA-256, SP 800-90A Rev. 1, section 10.1.2."""

    def __init__(self, seed: bytes, personalization: bytes) -> None:
        self.k, self.v = bytes(32), b"\x01" * 32
        for byte in b"\x00\x01":
            self._update(bytes([byte]) + seed + personalization)

    def _hmac(self, message: bytes) -> bytes:
        return hmac.new(self.k, message, hashlib.sha256).digest()

    def _update(self, message: bytes) -> None:
        self.k = self._hmac(self.v + message)
        self.v = self._hmac(self.v)

    def generate(self, length: int) -> bytes:
        temp = b""
        while len(temp) < length:
            self.v = self._hmac(self.v)
            temp += self.v
        return temp[:length]

    def next(self) -> None:
        self._update(b"\x00")


SMALL_PRIMES = [n for n in range(3, 1620, 2) if all(n % d for d in range(3, n, 2))]


def is_prime(n: int) -> bool:
    """FIPS 186-5, B.3.1, for n = 3 mod 4."""
    if any(n % p == 0 for p in SMALL_PRIMES):
        return False
    bases = (random.randrange(2, n - 1) for _ in range(8))
    return all(pow(base, (n - 1) // 2, n) in (1, n - 1) for base in bases)


def rsa_primes(seed: bytes, bits: int) -> tuple[int, int]:
    if bits % 16 or not 2048 <= bits <= 16384:
        raise ValueError(f"{bits} bits")
    drbg = Drbg(seed, b"det RSA key gen" + bits.to_bytes(2, "big"))

    def prime() -> int:
        while True:
            t = int.from_bytes(drbg.generate(bits // 16), "big")
            drbg.next()
            t |= 3 << bits // 2 - 2 | 7
            if is_prime(t):
                return t

    while True:
        p, q = prime(), prime()
        if gcd(p - 1, q - 1) < 2**32 and (p - 1) % E and (q - 1) % E:
            return p, q


def _der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def _integer(n: int) -> bytes:
    return _der(2, n.to_bytes(n.bit_length() // 8 + 1, "big"))


def _pkcs8(algorithm: bytes, key: bytes) -> bytes:
    return _der(0x30, _integer(0), _der(0x30, algorithm), _der(4, key))


def rsa(seed: bytes, bits: int) -> bytes:
    p, q = rsa_primes(seed, bits)
    d = pow(E, -1, (p - 1) * (q - 1) // gcd(p - 1, q - 1))
    numbers = 0, p * q, E, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p)
    algorithm = bytes.fromhex("06092a864886f70d0101010500")
    return _pkcs8(algorithm, _der(0x30, *map(_integer, numbers)))


def _add(one, other, p):
    if one is None or other is None:
        return one or other
    (x1, y1), (x2, y2) = one, other
    if x1 == x2:
        if (y1 + y2) % p == 0:
            return None
        slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, p)
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, p)
    x = (slope * slope - x1 - x2) % p
    return x, (slope * (x1 - x) - y1) % p


def _times(scalar, point, p):
    total = None
    while scalar:
        if scalar & 1:
            total = _add(total, point, p)
        point, scalar = _add(point, point, p), scalar >> 1
    return total


def ecdsa(seed: bytes, curve: str) -> bytes:
    p, b, n, base, oid, personalization = CURVES[curve]
    size = n.bit_length() // 8
    drbg = Drbg(seed, personalization)
    d = int.from_bytes(drbg.generate(size), "big")
    if d >= n and curve == "p256":
        drbg.next()
        d = int.from_bytes(drbg.generate(size), "big")
    if not 0 < d < n:
        raise ValueError("out of range")
    x, y = _times(d, base, p)
    assert (y * y - (x * x * x - 3 * x + b)) % p == 0
    point = b"\x04" + x.to_bytes(size, "big") + y.to_bytes(size, "big")
    key = _der(
        0x30, _integer(1), _der(4, d.to_bytes(size, "big")), _der(0xA1, _der(3, b"\x00" + point))
    )
    return _pkcs8(bytes.fromhex("06072a8648ce3d0201") + oid, key)


def ed25519(private: bytes) -> bytes:
    if len(private) != 32:
        raise ValueError(f"{len(private)} bytes")
    return _pkcs8(bytes.fromhex("06032b6570"), _der(4, private))


def pkcs8(what: str, seed: bytes) -> bytes:
    """The key that a callout word means, rsa with any size."""
    if what == "ed25519":
        return ed25519(seed)
    if len(seed) < 16:
        raise ValueError(f"a seed of {len(seed)} bytes")
    if what in CURVES:
        return ecdsa(seed, what)
    if what.startswith("rsa"):
        return rsa(seed, int(what[3:]))
    raise ValueError(what)
