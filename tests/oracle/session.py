# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The arithmetic of sessions: TPM 2.0 Part 1, sections 11.4.10.2 (KDFa), 11.4.10.3
(KDFe), 19.6 (HMAC sessions) and 21 (parameter encryption).

Written from those sections and FIPS 197 alone. Pure functions; slow, and careless
about time and memory: for checking others. Run as a program, it prints numbers to
compare with.
"""

import hashlib
import hmac
import struct

TPM_CC_HMAC = 0x00000155
CONTINUE_SESSION, DECRYPT, ENCRYPT = 1 << 0, 1 << 5, 1 << 6


def kdfa(key: bytes, label: bytes, context_u: bytes, context_v: bytes) -> bytes:
    """256 bits by HMAC-SHA256: one block, whose number is 1."""
    message = struct.pack(">I", 1) + label + b"\0" + context_u + context_v
    return hmac.new(key, message + struct.pack(">I", 256), hashlib.sha256).digest()


def kdfe(shared: bytes, use: bytes, party_u: bytes, party_v: bytes) -> bytes:
    """256 bits by SHA-256: one block, whose number is 1."""
    message = struct.pack(">I", 1) + shared + use + b"\0" + party_u + party_v
    return hashlib.sha256(message).digest()


def command_digest(code: int, names: bytes, parameters: bytes) -> bytes:
    """cpHash."""
    return hashlib.sha256(struct.pack(">I", code) + names + parameters).digest()


def response_digest(code: int, parameters: bytes) -> bytes:
    """rpHash of a response without error."""
    return hashlib.sha256(struct.pack(">II", 0, code) + parameters).digest()


def authorization(
    value: bytes, digest: bytes, newer: bytes, older: bytes, attributes: int
) -> bytes:
    """The HMAC of a command or a response. The value is the session's key and then
    the authorization value of the entity, without trailing zeros."""
    message = digest + newer + older + bytes([attributes])
    return hmac.new(value, message, hashlib.sha256).digest()


def crypted(value: bytes, newer: bytes, older: bytes, data: bytes, encrypt: bool) -> bytes:
    """A parameter's content by AES-128-CFB."""
    material = kdfa(value, b"CFB", newer, older)
    key, feedback = material[:16], material[16:]
    result = b""
    for start in range(0, len(data), 16):
        block = data[start : start + 16]
        stream = aes128(key, feedback)
        done = bytes(a ^ b for a, b in zip(block, stream))
        result += done
        feedback = done if encrypt else block
    return result


def _times(a: int, b: int) -> int:
    """FIPS 197, section 4.2: multiplication in GF(2^8)."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def _substitution(byte: int) -> int:
    """FIPS 197, section 5.1.1: the inverse (0 for 0), and an affine transformation."""
    inverse = next((x for x in range(256) if _times(byte, x) == 1), 0)
    result = 0x63
    for shift in range(5):
        result ^= (inverse << shift | inverse >> (8 - shift)) & 0xFF
    return result


S_BOX = [_substitution(byte) for byte in range(256)]


def _schedule(key: bytes) -> list[bytes]:
    """FIPS 197, section 5.2: eleven round keys."""
    words = [key[start : start + 4] for start in range(0, 16, 4)]
    constant = 1
    for number in range(4, 44):
        word = words[-1]
        if number % 4 == 0:
            word = bytes(S_BOX[byte] for byte in word[1:] + word[:1])
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = _times(constant, 2)
        words.append(bytes(a ^ b for a, b in zip(words[number - 4], word)))
    return [b"".join(words[start : start + 4]) for start in range(0, 44, 4)]


def aes128(key: bytes, block: bytes) -> bytes:
    """FIPS 197, section 5.1: the cipher."""
    keys = _schedule(key)
    state = bytes(a ^ b for a, b in zip(block, keys[0]))
    for number in range(1, 11):
        state = bytes(S_BOX[state[(4 * (i // 4 + i % 4) + i % 4) % 16]] for i in range(16))
        if number < 10:
            columns = [state[start : start + 4] for start in range(0, 16, 4)]
            state = bytes(
                _times(column[row], 2) ^ _times(column[(row + 1) % 4], 3)
                ^ column[(row + 2) % 4] ^ column[(row + 3) % 4]
                for column in columns for row in range(4)
            )
        state = bytes(a ^ b for a, b in zip(state, keys[number]))
    return state


def vectors() -> str:
    """A session from its salt to an answer, a line each."""
    made = {
        "shared": bytes([0x11]) * 32,
        "party_u": bytes([0x22]) * 32,
        "party_v": bytes([0x33]) * 31,
        "nonce_started": bytes([0x44]) * 32,
        "nonce_starting": bytes([0x55]) * 32,
        "auth": b"owner's password",
        "names": bytes.fromhex("000b") + bytes(range(32)),
        "nonce_caller": bytes([0x66]) * 32,
        "command": bytes.fromhex("0020") + bytes(range(32)) + bytes.fromhex("000b"),
        "nonce_tpm": bytes([0x77]) * 32,
        "response": bytes.fromhex("0020") + bytes(range(0x80, 0xA0)),
    }
    attributes = CONTINUE_SESSION | DECRYPT | ENCRYPT
    made["salt"] = kdfe(made["shared"], b"SECRET", made["party_u"], made["party_v"])
    made["key"] = kdfa(made["salt"], b"ATH", made["nonce_started"], made["nonce_starting"])
    value = made["key"] + made["auth"]

    def first(parameters: bytes, newer: bytes, older: bytes) -> bytes:
        size = 2 + int.from_bytes(parameters[:2], "big")
        content = crypted(value, newer, older, parameters[2:size], True)
        return parameters[:2] + content + parameters[size:]

    nonces = made["nonce_caller"], made["nonce_started"]
    made["command_sent"] = first(made["command"], *nonces)
    digest = command_digest(TPM_CC_HMAC, made["names"], made["command_sent"])
    made["command_hmac"] = authorization(value, digest, *nonces, attributes)
    nonces = made["nonce_tpm"], made["nonce_caller"]
    made["response_sent"] = first(made["response"], *nonces)
    digest = response_digest(TPM_CC_HMAC, made["response_sent"])
    made["response_hmac"] = authorization(value, digest, *nonces, attributes)
    return "".join(f"{name} = {number.hex()}\n" for name, number in made.items())


if __name__ == "__main__":
    print(vectors(), end="")
