# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Tests of the sessions' arithmetic: AES against FIPS 197, and the
numbers that the library is compared with."""

import unittest
from pathlib import Path

import session

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent.parent / "derive/src/tpm/direct/session_vectors.txt"


class Session(unittest.TestCase):
    """The functions, and what is written down of them."""

    def test_aes(self) -> None:
        """FIPS 197, appendix C.1."""
        block = bytes.fromhex("00112233445566778899aabbccddeeff")
        expected = bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a")
        self.assertEqual(session.aes128(bytes(range(16)), block), expected)

    def test_what_is_encrypted_can_be_decrypted(self) -> None:
        """Also in pieces that are no whole blocks."""
        for size in (0, 1, 15, 16, 17, 32):
            data = bytes(range(size))
            sent = session.crypted(b"value", b"newer", b"older", data, True)
            self.assertEqual(len(sent), size)
            self.assertEqual(session.crypted(b"value", b"newer", b"older", sent, False), data)

    def test_vectors(self) -> None:
        """What the library is compared with is what is computed here."""
        self.assertEqual(VECTORS.read_text(encoding="ascii"), session.vectors())


if __name__ == "__main__":
    unittest.main()
