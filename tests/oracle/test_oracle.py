# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Tests of the page's numbers, of HKDF-Expand, of the grammar, of the command line."""

import hashlib
import hmac
import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

import derivation
import det_keygen
import page
from derivation import parse_request

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "derivation.md"
ID = b"tpm2:derived:test"


def run_oracle(*arguments: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    """The command line as another program would run it."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(HERE / "oracle.py"), *arguments],
        input=lines, capture_output=True, text=True, timeout=60, check=False,
    )


def request_line(**fields: object) -> str:
    """One input line of `derive`; by default example 1 of the page."""
    request = {
        "type": "user", "description": ID.hex(), "info": b"32 path".hex(), "uid": 1000,
        "realm": "", "value": b"/usr/bin/keyctl".hex(),
    }
    return json.dumps(request | fields) + "\n"


class Page(unittest.TestCase):
    """docs/derivation.md, worked examples and template."""

    def test_numbers(self) -> None:
        done = run_oracle("check-doc", str(PAGE))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        count, words = done.stdout.split(" ", 1)
        self.assertEqual(words, "numbers checked\n")
        self.assertGreaterEqual(int(count), 1 + 7 + 4 * 5)

    def test_every_number_matters(self) -> None:
        """One hex digit changed anywhere in the template or in a block is found."""
        text = PAGE.read_text(encoding="utf-8")
        lines = text.split("\n")
        start = lines.index("## Worked examples")
        changed = 0
        for index, line in enumerate(lines):
            is_number = re.search(r"(?: = | {10})[0-9a-f ]+$", line) is not None
            is_constant = is_number and line.startswith(("template = ", "kernel "))
            if not (index > start and is_number) and not is_constant:
                continue
            digit = "0" if line[-1] != "0" else "1"
            wrong = lines[:index] + [line[:-1] + digit] + lines[index + 1 :]
            with self.assertRaises(page.PageError, msg=line):
                page.check("\n".join(wrong))
            changed += 1
        # The template, the root secret, 4 examples of 5 numbers, some on two lines;
        # 7 numbers of the kernel's root.
        self.assertGreater(changed, 2 + 4 * 5 + 7)

    def test_inputs_matter(self) -> None:
        """The examples are computed from their sentences."""
        text = PAGE.read_text(encoding="utf-8")
        for old, new in (
            ("uid 1000", "uid 1001"), ("Type `logon`", "Type `user`"),
            ("`tpm2:derived:db`", "`tpm2:derived:dc`"), ("gen=1`", "gen=2`"),
            ("realm `blue`", "no realm"), ("bytes `abc`", "bytes `abd`"),
            ("bytes `abc`", "bytes `abcd`"), ("`16 cgroup scope=any`", "`16 cgroup`"),
            ("uid 4294967294", "uid 4294967295"), ("any uid", "any user"),
        ):
            self.assertIn(old, text)
            with self.assertRaises(page.PageError, msg=new):
                page.check(text.replace(old, new))

    def test_too_few_examples(self) -> None:
        text = PAGE.read_text(encoding="utf-8")
        with self.assertRaisesRegex(page.PageError, "3 worked examples"):
            page.check(text[: text.index("### 4. ")])


class Expand(unittest.TestCase):
    """RFC 5869 appendix A, test cases 1 to 3: OKM from PRK."""

    VECTORS = (
        (
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            bytes(range(0xF0, 0xFA)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
            "34007208d5b887185865",
        ),
        (
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            bytes(range(0xB0, 0x100)),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
            "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
            "cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            b"",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
            "9d201395faa4b61a96c8",
        ),
    )

    def test_vectors(self) -> None:
        for prk, info, okm in self.VECTORS:
            got = derivation.hkdf_expand(bytes.fromhex(prk), info, len(okm) // 2)
            self.assertEqual(got.hex(), okm)

    def test_bounds(self) -> None:
        self.assertEqual(len(derivation.hkdf_expand(b"k", b"", 255 * 32)), 255 * 32)
        for length in (-1, 0, 255 * 32 + 1):
            with self.assertRaises(ValueError):
                derivation.hkdf_expand(b"k", b"", length)


class Grammar(unittest.TestCase):
    """Section 5."""

    def refuse(self, key_type: str, description: bytes, info: bytes) -> None:
        with self.assertRaises(ValueError, msg=f"{key_type} {description!r} {info!r}") as caught:
            parse_request(key_type, description, info)
        self.assertIs(type(caught.exception), ValueError)
        self.assertTrue(str(caught.exception))

    def test_callout_info_accepted(self) -> None:
        for info, length, kind, generation, scope in (
            (b"1 path", 1, 1, 0, 1),
            (b"1024 csum", 1024, 2, 0, 1),
            (b"32 id", 32, 3, 0, 1),
            (b"32 cgroup", 32, 4, 0, 1),
            (b"32 verity", 32, 5, 0, 1),
            (b"32\tid", 32, 3, 0, 1),
            (b" \t 32 \t id\t\tv=1 \t", 32, 3, 0, 1),
            (b"32 id v=1", 32, 3, 0, 1),
            (b"32 id gen=0", 32, 3, 0, 1),
            (b"32 id gen=4294967295", 32, 3, 4294967295, 1),
            (b"32 id scope=any", 32, 3, 0, 0),
            (b"32 id v=1 gen=7 scope=any", 32, 3, 7, 0),
            (b"32 id scope=any gen=7 v=1", 32, 3, 7, 0),
        ):
            got = parse_request("user", ID, info)
            self.assertEqual(
                (got.length, got.kind, got.generation, got.scope),
                (length, kind, generation, scope), msg=info,
            )
            self.assertEqual((got.alg, got.param, got.use), (1, 0, 0))

    def test_callout_info_refused(self) -> None:
        for info in (
            # missing words
            b"", b" ", b"\t", b"32", b"path", b"rsa2048", b"gen=1", b"32 gen=1",
            b"path 32", b"32 v=1 path",
            # unknown words
            b"32 exe", b"32 Path", b"32 path x", b"32 path path", b"32 path 32",
            b"rsa1024 path", b"RSA2048 path", b"rsa path", b"p521 path", b"P256 path",
            b"ed448 path", b"aes path", b"32 pat", b"32 path\0", b"32 path \xff",
            b"32,path", b"32 path,v=1", b"length=32 path",
            # lengths
            b"0 path", b"1025 path", b"99999999999 path", b"9" * 5000 + b" path",
            b"-1 path", b"+5 path", b"0x20 path", b"032 path", b"00 path", b"3_2 path",
            b"32.0 path", b"1e2 path", b"32b path", b"\xd9\xa3 path", b"\xb2 path",
            # other white space
            b"32\x0bpath", b"32\x0cpath", b"32\npath", b"32\rpath", b"32 path\n",
            b"\n32 path", b"32\xa0path", b"32 path\x0b", b"32\xc2\xa0path",
            # options
            b"32 path v=2", b"32 path v=0", b"32 path v=", b"32 path v", b"32 path v=01",
            b"32 path V=1", b"32 path v=1 v=1", b"32 path v = 1", b"32 path v=1 v=2",
            b"32 path scope=", b"32 path scope=user", b"32 path scope", b"32 path scope=Any",
            b"32 path scope=any scope=any", b"32 path gen", b"32 path gen=", b"32 path gen=-1",
            b"32 path gen=+1", b"32 path gen=01", b"32 path gen=00", b"32 path gen=0x1",
            b"32 path gen=4294967296", b"32 path gen=99999999999", b"32 path gen=1 gen=1",
            b"32 path gen=1 gen=2", b"32 path gen=1,v=1", b"32 path gen=a", b"32 path =1",
            b"32 path gen=1=1", b"32 path realm=blue", b"32 path uid=0",
        ):
            self.refuse("user", ID, info)

    def test_whats(self) -> None:
        for word, numbers in (
            (b"rsa2048", (2, 2048, 48)), (b"rsa3072", (2, 3072, 48)),
            (b"rsa4096", (2, 4096, 48)), (b"p256", (3, 256, 48)),
            (b"p384", (3, 384, 48)), (b"ed25519", (4, 0, 32)), (b"32", (1, 0, 32)),
        ):
            for key_type, use in (("user", 0), ("big_key", 0), ("logon", 1)):
                got = parse_request(key_type, ID, word + b" id")
                self.assertEqual((got.alg, got.param, got.length), numbers)
                self.assertEqual(got.use, use)
                okm = derivation.okm(bytes(32), got)
                self.assertEqual(len(okm), numbers[2])
                if got.alg == derivation.RAW:
                    self.assertEqual(derivation.payload(got, okm), okm)
                elif got.alg != derivation.RSA:  # which is slow, and has tests
                    self.assertEqual(
                        derivation.payload(got, okm), det_keygen.pkcs8(word.decode(), okm)
                    )

    def test_asymmetric(self) -> None:
        for word, bits in (
            (b"rsa2048", 2048), (b"rsa3072", 3072), (b"rsa4096", 4096), (b"1", 2048),
            (b"1024", 2048),
        ):
            got = parse_request("asymmetric", ID, word + b" id")
            self.assertEqual((got.alg, got.param, got.length, got.use), (2, bits, 48, 1))
        for word in (b"p256", b"p384", b"ed25519", b"0", b"1025", b"02"):
            self.refuse("asymmetric", ID, word + b" id")

    def test_key_types_refused(self) -> None:
        for key_type in ("", "User", "user ", "keyring", "trusted", "encrypted", "rsa"):
            self.refuse(key_type, ID, b"32 id")

    def test_key_ids(self) -> None:
        for key_id in (
            b"a", b"a" * 255, b";", b"a b", b" ", b"\t", b"a\nb", b"\n", b"\xff\xfe", b"\x01",
            b":", b"tpm2:derived:", "\u00e4".encode(),
        ):
            got = parse_request("user", b"tpm2:derived:" + key_id, b"32 id")
            self.assertEqual(got.key_id, key_id)
            info = derivation.key_info(got)
            self.assertTrue(info.endswith(len(key_id).to_bytes(2, "big") + key_id))
        for description in (
            b"", b"test", b"tpm2:derived:", b"tpm2:derived", b"TPM2:derived:a",
            b" tpm2:derived:a", b"tpm2:sealed:a", b"tpm2:derived:" + b"a" * 256,
            b"tpm2:derived:\0", b"tpm2:derived:a\0", b"tpm2:derived:a\0b",
        ):
            self.refuse("user", description, b"32 id")


class Identity(unittest.TestCase):
    """Section 2."""

    def test_sizes(self) -> None:
        for kind, good, bad in (
            (1, (b"/a", b"/a/..b/c.", b"/" + b"a" * 4094),
             (b"", b"/", b"a", b"//a", b"/a/", b"/a//b", b"/./a", b"/a/..", b"/a\0",
              b"/a (deleted)", b"/" + b"a" * 4095)),
            (2, (bytes(32),), (b"", bytes(31), bytes(33))),
            (3, (b"",), (b"x",)),
            (4, (b"/a", b"/" + b"a" * 4094), (b"", b"/", b"a", b"/" + b"a" * 4095)),
            (5, (b"\0\1" + bytes(32), b"\0\2" + bytes(64)),
             (b"", b"\0", b"\0\1", b"\0\1" + bytes(31), b"\1\0" + bytes(32))),
        ):
            for value in good:
                got = derivation.identity_bytes(kind, 1, 0, b"", value)
                self.assertTrue(got.endswith(len(value).to_bytes(2, "big") + value))
            for value in bad:
                with self.assertRaises(ValueError, msg=f"{kind} {value!r}"):
                    derivation.identity_bytes(kind, 1, 0, b"", value)
        self.assertEqual(len(derivation.identity_bytes(3, 1, 0, b"r" * 64, b"")), 38 + 64)
        for arguments in (
            (0, 1, 0, b"", b""), (6, 1, 0, b"", b""), (3, 2, 0, b"", b""),
            (3, 1, -1, b"", b""), (3, 1, 4294967295, b"", b""), (3, 1, None, b"", b""),
            (3, 1, 0, b"r" * 65, b""),
        ):
            with self.assertRaises(ValueError, msg=f"{arguments}"):
                derivation.identity_bytes(*arguments)

    def test_scope_any_forgets_uid(self) -> None:
        with self.assertRaises(ValueError):
            derivation.identity_bytes(3, 0, 4294967295, b"", b"")
        for uid in (0, 1000, -1, None):
            got = derivation.identity_bytes(3, 0, uid, b"", b"")
            self.assertEqual(got, b"tpm-derived-keys identity v1\0\3\0" + bytes(7))


class CommandLine(unittest.TestCase):
    """`derive --root-secret`, and what ends the program."""

    def test_answers(self) -> None:
        secret = bytes(range(32))
        lines = request_line() + request_line(info=b"0 path".hex()) + request_line(value="")
        done = run_oracle("derive", "--root-secret", secret.hex(), lines=lines)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        first, second, third = map(json.loads, done.stdout.splitlines())
        digest = bytes.fromhex(first["identity_digest"])
        self.assertEqual(
            first["identity_key"], hmac.new(secret, digest, hashlib.sha256).hexdigest()
        )
        self.assertIn(first["okm"], PAGE.read_text(encoding="utf-8"))
        self.assertEqual((list(second), list(third)), (["error"], ["error"]))

    def test_lines_that_are_no_requests(self) -> None:
        for line in (
            "\n", "{}\n", "[]\n", "{\n", request_line(more=1), request_line(uid="0"),
            request_line(uid=True), request_line(uid=1.0), request_line(value="0"),
            request_line(info="32 path"), request_line(realm=None), request_line(type=1),
        ):
            done = run_oracle("derive", "--root-secret", "00", lines=line)
            self.assertEqual((done.returncode, done.stdout), (2, ""), msg=line)
            self.assertIn("oracle: line 1: ", done.stderr)

    def test_usage(self) -> None:
        for arguments in (
            (), ("derive",), ("root",), ("root", "--root-secret", "00"),
            ("derive", "--root-secret", ""), ("derive", "--root-secret", "0g"),
            ("derive", "--root-secret", "00", "--via", "hmac"),
            ("derive", "--unix", "a", "--tcp", "b:1"), ("root", "--tcp", "host"),
        ):
            self.assertEqual(run_oracle(*arguments).returncode, 2, msg=f"{arguments}")
        done = run_oracle("check-doc", "/nonexistent/page.md")
        self.assertEqual(done.returncode, 1)


if __name__ == "__main__":
    unittest.main()
