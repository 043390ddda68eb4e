# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Makes keys by Python's cryptography: reads a number of bits a line, and writes
the CPU time and the time it took, in nanoseconds. The first line says who it is."""

import sys
import time

import cryptography
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.asymmetric import rsa

print(
    f"Python {sys.version.split()[0]}, cryptography {cryptography.__version__},"
    f" {backend.openssl_version_text()}",
    flush=True,
)
for line in sys.stdin:
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    rsa.generate_private_key(65537, int(line.split()[0]))
    print(time.process_time_ns() - cpu, time.perf_counter_ns() - wall, flush=True)
