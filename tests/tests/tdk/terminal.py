# SPDX-License-Identifier: Apache-2.0 OR MIT
"""terminal.py TYPED COMMAND...: runs a command on a terminal of its own, and types a
line when it is asked for a password. Prints what the terminal shows; exits as the
command does."""

import os
import pty
import sys

typed, command = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
shown = b""
is_asked = False
while True:
    try:
        piece = os.read(terminal, 1024)
    except OSError:
        break
    if not piece:
        break
    shown += piece
    if b"owner: " in shown and not is_asked:
        is_asked = True
        os.write(terminal, typed.encode() + b"\n")
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
