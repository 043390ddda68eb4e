# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Tests of the TPM frames: against a scripted TPM, and live against swtpm."""

import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from unittest import mock

import derivation
import tpm
from test_oracle import HERE, request_line, run_oracle
from tpm import Tpm, TpmError, tpm2b

READY_LIMIT = 10.0


def response(code: int = 0, body: bytes = b"", tag: int = 0x8001) -> bytes:
    """A response frame."""
    return struct.pack(">HII", tag, 10 + len(body), code) + body


def with_auth(parameters: bytes, handle: bytes = b"") -> bytes:
    """A successful response to a command with a password authorization."""
    body = handle + struct.pack(">I", len(parameters)) + parameters
    return response(0, body + bytes.fromhex("0000010000"), 0x8002)


def primary(public: bytes, name: bytes | None = None) -> bytes:
    """A response to TPM2_CreatePrimary with handle 0x80000000."""
    if name is None:
        name = b"\x00\x0b" + sha256(public).digest()
    parameters = (
        tpm2b(public) + tpm2b(b"") + tpm2b(bytes(32))
        + bytes.fromhex("8021 40000001 0000") + tpm2b(name)
    )
    return with_auth(parameters, bytes.fromhex("80000000"))


PUBLIC = tpm.ROOT_TEMPLATE[:-21] + tpm2b(b"\x5a" * 32)


@contextmanager
def scripted(*answers: bytes) -> Iterator[tuple[Tpm, list[bytes]]]:
    """A TPM on a loopback port that gives these answers; what it was sent."""
    frames: list[bytes] = []

    def serve() -> None:
        listener.settimeout(10)
        peer, _ = listener.accept()
        with peer:
            for answer in answers:
                head = peer.recv(10, socket.MSG_WAITALL)
                if len(head) < 10:
                    return
                size = int.from_bytes(head[2:6], "big")
                frames.append(head + peer.recv(size - 10, socket.MSG_WAITALL))
                # In two parts: a stream may break a frame anywhere.
                peer.sendall(answer[:7])
                time.sleep(0.002)
                peer.sendall(answer[7:])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with Tpm.open_tcp("127.0.0.1", listener.getsockname()[1]) as connection:
                yield connection, frames
        finally:
            thread.join()


class Scripted(unittest.TestCase):
    """What a well-behaved TPM does not do."""

    def test_template(self) -> None:
        self.assertEqual(len(tpm.ROOT_TEMPLATE), 16 + 19)
        self.assertEqual(tpm.ROOT_TEMPLATE[4:8].hex(), "00040472")

    def test_root(self) -> None:
        with scripted(primary(PUBLIC)) as (connection, frames):
            root = connection.create_root()
        self.assertEqual(root.handle, 0x80000000)
        self.assertEqual(root.name, b"\x00\x0b" + sha256(PUBLIC).digest())
        self.assertEqual(
            frames[0].hex(),
            "80020000004c00000131" "40000001" "00000009" "400000090000000000"
            "000400000000" "0023" + tpm.ROOT_TEMPLATE.hex() + "0000" "00000000",
        )

    def test_retry_is_bounded(self) -> None:
        mac = with_auth(tpm2b(b"\x11" * 32))
        with mock.patch.object(tpm, "RETRY_PAUSE", 0.0):
            with scripted(response(0x922), response(0x922), mac) as (connection, frames):
                self.assertEqual(connection.hmac(0x80000000, bytes(32)), b"\x11" * 32)
            self.assertEqual(len(set(frames)), 1)
            self.assertEqual(len(frames), 3)
            with scripted(*[response(0x922)] * 99) as (connection, frames):
                with self.assertRaisesRegex(TpmError, "0x922"):
                    connection.hmac(0x80000000, bytes(32))
            self.assertEqual(len(frames), tpm.RETRIES + 1)

    def test_error_code_in_hex(self) -> None:
        for code, text in ((0x143, "0x143$"), (0x98E, "0x98e$"), (0x1, "0x001$")):
            with scripted(response(code)) as (connection, _):
                with self.assertRaisesRegex(TpmError, text) as caught:
                    connection.hmac(0x80000000, bytes(32))
                self.assertEqual(caught.exception.code, code)

    def test_strange_roots_are_flushed(self) -> None:
        other_name = b"\x00\x0b" + bytes(32)
        for answer in (
            primary(PUBLIC, other_name), primary(PUBLIC, b""), primary(b""),
            primary(tpm.ROOT_TEMPLATE), primary(PUBLIC + b"\0"),
            *(primary(PUBLIC[:at] + bytes([PUBLIC[at] ^ 1]) + PUBLIC[at + 1 :])
              for at in range(len(PUBLIC) - 32)),
        ):
            with scripted(answer, response()) as (connection, frames):
                with self.assertRaises(TpmError):
                    connection.create_root()
            self.assertEqual(frames[1].hex(), "80010000000e0000016580000000")

    def test_strange_responses(self) -> None:
        for answer in (
            b"", response()[:9], with_auth(tpm2b(bytes(31))), with_auth(tpm2b(bytes(32)))[:-1],
            with_auth(b"\x00\x20" + bytes(31)), with_auth(tpm2b(bytes(32)) + b"\0"),
            with_auth(tpm2b(bytes(32)))[:2] + b"\0\0\0\x09" + bytes(4),
            with_auth(tpm2b(bytes(32)))[:2] + b"\x7f\0\0\0" + bytes(4),
            response(0, with_auth(tpm2b(bytes(32)))[10:], 0x8001),
        ):
            with scripted(answer) as (connection, _):
                with self.assertRaises(TpmError, msg=answer.hex()):
                    connection.hmac(0x80000000, bytes(32))

    def test_failed_sequence_is_flushed(self) -> None:
        started = with_auth(b"", bytes.fromhex("80000001"))
        with scripted(started, response(0x902), response()) as (connection, frames):
            with self.assertRaisesRegex(TpmError, "0x902"):
                connection.hmac_sequence(0x80000000, bytes(32))
        self.assertEqual(frames[2].hex(), "80010000000e0000016580000001")

    def test_digests_only(self) -> None:
        """Section 3: the root key never computes over anything else."""
        with scripted() as (connection, frames):
            for compute in (connection.hmac, connection.sign_hmac, connection.hmac_sequence):
                for size in (0, 31, 33):
                    with self.assertRaises(ValueError):
                        compute(0x80000000, bytes(size))
        self.assertEqual(frames, [])


@contextmanager
def swtpm(state: Path) -> Iterator[str]:
    """A running swtpm on this state directory; the path of its socket."""
    path = f"{state}/sock"
    with open(state / "log", "ab") as log:
        process = subprocess.Popen(
            [
                "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}",
                "--server", f"type=unixio,path={path}",
                "--ctrl", f"type=unixio,path={path}.ctrl",
                "--flags", "not-need-init,startup-clear",
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )
    try:
        wait_ready(process, path)
        yield path
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for name in (path, f"{path}.ctrl"):
            Path(name).unlink(missing_ok=True)


def wait_ready(process: subprocess.Popen[bytes], path: str) -> None:
    """Until the TPM answers a command."""
    end = time.monotonic() + READY_LIMIT
    while True:
        try:
            with Tpm.open_unix(path) as connection:
                connection.transient_handles()
            return
        except (OSError, TpmError) as error:
            if process.poll() is not None:
                raise AssertionError(f"swtpm ended with {process.returncode}") from error
            if time.monotonic() > end:
                raise AssertionError(f"swtpm not ready in {READY_LIMIT} s") from error
        time.sleep(0.01)


class Live(unittest.TestCase):
    """Sections 1 and 3 on a software TPM."""

    DIGESTS = (bytes(32), b"\xff" * 32, sha256(b"a").digest(), sha256(b"b").digest())

    def setUp(self) -> None:
        if shutil.which("swtpm") is None:
            if os.environ.get("CI") == "true":
                self.fail("swtpm is not installed, and CI=true does without no test")
            self.skipTest("swtpm is not installed: the live TPM tests did not run")
        directory = tempfile.TemporaryDirectory(prefix="oracle-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name).resolve()

    def state(self, name: str) -> Path:
        """A new, empty state directory."""
        path = self.directory / name
        path.mkdir()
        return path

    def keys(self, connection: Tpm) -> tuple[bytes, list[bytes]]:
        """The root's Name and the identity keys of some digests, three ways."""
        root = connection.create_root()
        try:
            self.assertEqual(connection.transient_handles(), [root.handle])
            macs = [connection.hmac(root.handle, digest) for digest in self.DIGESTS]
            for digest, mac in zip(self.DIGESTS, macs):
                self.assertEqual(connection.sign_hmac(root.handle, digest), mac)
                self.assertEqual(connection.hmac_sequence(root.handle, digest), mac)
            self.assertEqual(connection.transient_handles(), [root.handle])
        finally:
            connection.flush(root.handle)
        self.assertEqual(connection.transient_handles(), [])
        self.assertEqual(len(set(macs)), len(macs))
        return root.name, macs

    def test_keys_are_for_ever(self) -> None:
        one = self.state("one")
        with swtpm(one) as path, Tpm.open_unix(path) as connection:
            first = self.keys(connection)
            self.assertEqual(self.keys(connection), first)
        with swtpm(one) as path, Tpm.open_unix(path) as connection:
            self.assertEqual(self.keys(connection), first)
        with swtpm(self.state("two")) as path, Tpm.open_unix(path) as connection:
            name, macs = self.keys(connection)
        self.assertNotEqual(name, first[0])
        self.assertEqual(set(macs) & set(first[1]), set())

    def test_flushed_handle_is_gone(self) -> None:
        with swtpm(self.state("one")) as path, Tpm.open_unix(path) as connection:
            root = connection.create_root()
            connection.flush(root.handle)
            # TPM_RC_REFERENCE_H0
            with self.assertRaisesRegex(TpmError, "0x910"):
                connection.hmac(root.handle, bytes(32))

    def test_kernel_root(self) -> None:
        """Section 7: the same secret each time, until the PCR is extended."""
        with swtpm(self.state("kernel")) as path, Tpm.open_unix(path) as connection:
            secret = connection.kernel_secret(13)
            self.assertEqual(connection.kernel_secret(13), secret)
            self.assertNotEqual(connection.kernel_secret(12), secret)

            root = connection.create_root(13)
            with self.assertRaises(TpmError) as raised:
                connection.hmac(root.handle, tpm.KERNEL_ROOT_DIGEST)
            # TPM_RC_AUTH_UNAVAILABLE: no password will do.
            self.assertEqual(raised.exception.code, 0x12F)

            # TPM2_PCR_Extend.
            connection._command(
                "TPM2_PCR_Extend", 0x182, [13],
                struct.pack(">IH", 1, tpm.TPM_ALG_SHA256) + bytes(32), auth=True,
            )
            with self.assertRaises(TpmError) as raised:
                connection.kernel_secret(13)
            # TPM_RC_VALUE, parameter 1.
            self.assertEqual(raised.exception.code, 0x1C4)
            connection.flush(root.handle)
            self.assertEqual(connection.transient_handles(), [])
            self.assertEqual(len(connection.kernel_secret(12)), 32)

    def test_command_line(self) -> None:
        lines = request_line() + request_line(type="none") + request_line(uid=0)
        with swtpm(self.state("one")) as path:
            names = {run_oracle("root", "--unix", path).stdout for _ in range(2)}
            answers = {
                run_oracle("derive", "--unix", path, *via, lines=lines).stdout
                for via in ((), ("--via", "hmac"), ("--via", "sign"), ("--via", "sequence"))
            }
            broken = run_oracle("derive", "--unix", path, lines=request_line() + "{\n")
            with Tpm.open_unix(path) as connection:
                self.assertEqual(connection.transient_handles(), [])
                root = connection.create_root()
                self.assertEqual(names, {root.name.hex() + "\n"})
                self.assertEqual(len(answers), 1)
                first, refused, last = map(json.loads, answers.pop().splitlines())
                digest = bytes.fromhex(first["identity_digest"])
                identity_key = connection.hmac(root.handle, digest)
                connection.flush(root.handle)
        self.assertEqual(list(refused), ["error"])
        self.assertNotEqual(first["identity_key"], last["identity_key"])
        self.assertEqual(first["identity_key"], identity_key.hex())
        request = derivation.parse_request("user", b"tpm2:derived:test", b"32 path")
        self.assertEqual(first["okm"], derivation.okm(identity_key, request).hex())
        self.assertEqual(broken.returncode, 2)
        self.assertEqual(len(broken.stdout.splitlines()), 1)

    def test_stopped_program_leaves_no_handle(self) -> None:
        with swtpm(self.state("one")) as path:
            for number in (signal.SIGTERM, signal.SIGINT):
                with subprocess.Popen(
                    [sys.executable, "-W", "error", str(HERE / "oracle.py"),
                     "derive", "--unix", path],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                ) as process:
                    try:
                        process.stdin.write(request_line().encode())
                        process.stdin.flush()
                        ready, _, _ = select.select([process.stdout], [], [], 30)
                        self.assertTrue(ready)
                        process.send_signal(number)
                        self.assertEqual(process.wait(30), 128 + number)
                        self.assertEqual(process.stderr.read(), b"")
                    finally:
                        process.kill()
                with Tpm.open_unix(path) as connection:
                    self.assertEqual(connection.transient_handles(), [])


if __name__ == "__main__":
    unittest.main()
