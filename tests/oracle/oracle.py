# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Command line of the oracle: an independent program made from docs/derivation.md.

  oracle.py derive (--unix PATH | --tcp HOST:PORT | --root-secret HEX)
                   [--via hmac|sign|sequence | --kernel-pcr PCR]
  oracle.py root (--unix PATH | --tcp HOST:PORT)
  oracle.py check-doc FILE

`derive` reads one JSON object a line:

  {"type": "user", "description": "<hex>", "info": "<hex>", "uid": 1000,
   "realm": "<hex>", "value": "<hex>"}

and answers each with one line, {"okm", "payload", "identity_key",
"identity_digest"} in
hex, or {"error": "message"} for a request that the page refuses. `value` is
the identity value of section 2 for the kind that the callout info names; uid
may be any integer where the callout info has scope=any. A line that is no such
object is not a request: it ends the program with status 2.

--kernel-pcr is section 7: the kernel's root key, under that PCR, which has to be
zero in the TPM.
"""

import argparse
import binascii
import json
import signal
import sys
from collections.abc import Callable

import derivation
import page
from tpm import Tpm, TpmError

IdentityKey = Callable[[bytes], bytes]
BYTE_FIELDS = ("description", "info", "realm", "value")
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}


class LineError(Exception):
    """An input line that is not a request at all."""


def parse_line(line: bytes) -> dict[str, object]:
    """One input line; byte fields decoded. LineError if it has another shape."""
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise LineError(f"not JSON: {error}") from error
    if not isinstance(fields, dict) or set(fields) != {"type", "uid", *BYTE_FIELDS}:
        raise LineError("not an object with exactly the six fields")
    if not isinstance(fields["type"], str) or type(fields["uid"]) is not int:
        raise LineError("type is not a string, or uid not an integer")
    for name in BYTE_FIELDS:
        try:
            fields[name] = binascii.unhexlify(fields[name])
        except (ValueError, TypeError) as error:
            raise LineError(f"{name} is not hex") from error
    return fields


def answer(fields: dict, identity_key_of: IdentityKey) -> dict[str, str]:
    """Sections 2 to 6 for one request."""
    try:
        request = derivation.parse_request(
            fields["type"], fields["description"], fields["info"]
        )
        identity = derivation.identity_bytes(
            request.kind, request.scope, fields["uid"], fields["realm"], fields["value"]
        )
    except ValueError as error:
        return {"error": str(error)}
    digest = derivation.identity_digest(identity)
    identity_key = identity_key_of(digest)
    okm = derivation.okm(identity_key, request)
    return {
        "okm": okm.hex(),
        "payload": derivation.payload(request, okm).hex(),
        "identity_key": identity_key.hex(),
        "identity_digest": digest.hex(),
    }


def read_line() -> bytes:
    """The next input line. Only here may a signal stop the program.

    Anywhere else it would cut a TPM command from its answer, and leave the
    root key loaded.
    """
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        return sys.stdin.buffer.readline()
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def answer_all(identity_key_of: IdentityKey) -> None:
    """Answer standard input line by line."""
    number = 0
    while line := read_line():
        number += 1
        try:
            fields = parse_line(line)
        except LineError as error:
            raise LineError(f"line {number}: {error}") from error
        print(json.dumps(answer(fields, identity_key_of)), flush=True)


def connect(options: argparse.Namespace) -> Tpm:
    """The TPM that --unix or --tcp names."""
    if options.unix is not None:
        return Tpm.open_unix(options.unix)
    host, _, port = options.tcp.rpartition(":")
    return Tpm.open_tcp(host.removeprefix("[").removesuffix("]"), int(port))


def run_derive(options: argparse.Namespace) -> None:
    """`derive`: one root key for all lines, flushed on every path."""
    if options.root_secret is not None:
        secret = options.root_secret
        answer_all(lambda digest: derivation.identity_key_from_secret(secret, digest))
        return
    with connect(options) as tpm:
        if options.kernel_pcr is not None:
            secret = tpm.kernel_secret(options.kernel_pcr)
            answer_all(lambda digest: derivation.identity_key_from_secret(secret, digest))
            return
        compute = {
            "hmac": tpm.hmac, "sign": tpm.sign_hmac, "sequence": tpm.hmac_sequence
        }[options.via or "hmac"]
        root = tpm.create_root()
        try:
            answer_all(lambda digest: compute(root.handle, digest))
        finally:
            tpm.flush(root.handle)


def run_root(options: argparse.Namespace) -> None:
    """`root`: the root key's Name (section 1)."""
    with connect(options) as tpm:
        root = tpm.create_root()
        tpm.flush(root.handle)
    print(root.name.hex())


def run_check_doc(options: argparse.Namespace) -> None:
    """`check-doc`: recompute the page's numbers."""
    with open(options.file, encoding="utf-8") as file:
        count = page.check(file.read())
    print(f"{count} numbers checked")


def tcp_address(text: str) -> str:
    """HOST:PORT, checked."""
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536):
        raise argparse.ArgumentTypeError("not HOST:PORT")
    return text


def secret_bytes(text: str) -> bytes:
    """A root key's secret value in hex."""
    try:
        secret = binascii.unhexlify(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("not hex") from error
    if not secret:
        raise argparse.ArgumentTypeError("empty")
    return secret


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="oracle.py")
    commands = parser.add_subparsers(required=True)
    for name, run in (("derive", run_derive), ("root", run_root)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        where = command.add_mutually_exclusive_group(required=True)
        where.add_argument("--unix", metavar="PATH")
        where.add_argument("--tcp", metavar="HOST:PORT", type=tcp_address)
        if run is run_derive:
            where.add_argument("--root-secret", metavar="HEX", type=secret_bytes)
            how = command.add_mutually_exclusive_group()
            how.add_argument("--via", choices=("hmac", "sign", "sequence"))
            how.add_argument("--kernel-pcr", metavar="PCR", type=int, choices=range(8, 16))
    command = commands.add_parser("check-doc")
    command.set_defaults(run=run_check_doc)
    command.add_argument("file", metavar="FILE")
    options = parser.parse_args(arguments)
    if getattr(options, "root_secret", None) is not None:
        if options.via is not None or options.kernel_pcr is not None:
            parser.error("--via and --kernel-pcr are about a TPM, not about --root-secret")
    return options


def stop(number: int, _frame: object) -> None:
    """A stop signal ends the program by an exception, so that it cleans up."""
    raise SystemExit(128 + number)


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status."""
    options = parse_arguments(arguments)
    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        options.run(options)
    except LineError as error:
        print(f"oracle: {error}", file=sys.stderr)
        return 2
    except (TpmError, page.PageError, OSError) as error:
        print(f"oracle: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
