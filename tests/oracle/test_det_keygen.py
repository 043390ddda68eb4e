# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Tests of det-keygen against what the library has once made."""

import hashlib
import unittest
from pathlib import Path

import det_keygen

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "det-keygen.txt"


class DetKeygen(unittest.TestCase):
    def test_golden(self) -> None:
        lines = GOLDEN.read_text().splitlines()
        self.assertGreaterEqual(len(lines), 33)
        for line in lines:
            what, seed, digest = line.split(" ")
            with self.subTest(what=what, seed=seed):
                key = det_keygen.pkcs8(what, bytes.fromhex(seed))
                self.assertEqual(hashlib.sha256(key).hexdigest(), digest)

    def test_the_second_draw_of_p256(self) -> None:
        """The seed that the specification names has its first scalar out of range."""
        seed = bytes.fromhex("b432f9be30890480298218510559aed7")
        _, _, order, _, _, personalization = det_keygen.CURVES["p256"]
        drbg = det_keygen.Drbg(seed, personalization)
        self.assertGreaterEqual(int.from_bytes(drbg.generate(32), "big"), order)

    def test_refused(self) -> None:
        for what, length in [
            ("p256", 15), ("rsa2048", 15), ("rsa2047", 48), ("rsa2032", 48), ("rsa16400", 48),
            ("ed25519", 31), ("ed25519", 33), ("p521", 48),
        ]:
            with self.assertRaises(ValueError):
                det_keygen.pkcs8(what, bytes(length))


if __name__ == "__main__":
    unittest.main()
