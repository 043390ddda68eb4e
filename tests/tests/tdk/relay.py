# SPDX-License-Identifier: Apache-2.0 OR MIT
"""relay.py SOCKET: passes TPM commands from standard input to a software TPM,
and its answers to standard output, as a command of the TCTI cmd does."""

import socket
import sys


def frame(stream):
    """One command or answer: its header says how long it is."""
    header = stream.read(10)
    return header + stream.read(int.from_bytes(header[2:6], "big") - 10) if header else b""


with socket.socket(socket.AF_UNIX) as tpm:
    tpm.connect(sys.argv[1])
    answers = tpm.makefile("rb")
    while command := frame(sys.stdin.buffer):
        tpm.sendall(command)
        sys.stdout.buffer.write(frame(answers))
        sys.stdout.buffer.flush()
