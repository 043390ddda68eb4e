#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The same key by Python and tpm2-pytss, for comparison: path identity, 32 bytes of
type user, generation 0, no realm.

  plugin.py derive TCTI EXECUTABLE UID KEY-ID     prints the key in hex
  plugin.py --config FILE %k %t %d %c %u %g %S    as a callout; takes the asker's word,
                                                  and nothing is checked
"""

import ctypes
import hashlib
import hmac
import os
import re
import struct
import sys

from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TCTILdr,
    TPM2_ALG,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMA_OBJECT,
)
from tpm2_pytss.types import TPMT_PUBLIC, TPMU_PUBLIC_PARMS

# keyctl(2), where it is a system call of this number: x86_64.
SYS_KEYCTL, ASSUME_AUTHORITY, INSTANTIATE = 250, 16, 12


def root_template() -> TPM2B_PUBLIC:
    attributes = (
        TPMA_OBJECT.FIXEDTPM
        | TPMA_OBJECT.FIXEDPARENT
        | TPMA_OBJECT.SENSITIVEDATAORIGIN
        | TPMA_OBJECT.USERWITHAUTH
        | TPMA_OBJECT.NODA
        | TPMA_OBJECT.SIGN_ENCRYPT
    )
    parameters = TPMU_PUBLIC_PARMS()
    parameters.keyedHashDetail.scheme.scheme = TPM2_ALG.HMAC
    parameters.keyedHashDetail.scheme.details.hmac.hashAlg = TPM2_ALG.SHA256
    public = TPMT_PUBLIC(
        type=TPM2_ALG.KEYEDHASH,
        nameAlg=TPM2_ALG.SHA256,
        objectAttributes=attributes,
        parameters=parameters,
    )
    public.unique.keyedHash = b"tpm-derived-keys v1"
    return TPM2B_PUBLIC(publicArea=public)


def identity_key(tcti: str, digest: bytes) -> bytes:
    name, _, conf = tcti.partition(":")
    with ESAPI(TCTILdr(name, conf)) as esys:
        root, *_ = esys.create_primary(
            TPM2B_SENSITIVE_CREATE(), root_template(), ESYS_TR.OWNER
        )
        try:
            return bytes(esys.hmac(root, digest, TPM2_ALG.SHA256))
        finally:
            esys.flush_context(root)


def derive(tcti: str, executable: bytes, uid: int, key_id: bytes) -> bytes:
    identity = b"tpm-derived-keys identity v1\0" + struct.pack(
        ">BBIBH", 1, 1, uid, 0, len(executable)
    )
    info = b"tpm-derived-keys key v1\0" + struct.pack(
        ">BBHIHH", 1, 0, 0, 0, 32, len(key_id)
    )
    digest = hashlib.sha256(identity + executable).digest()
    # RFC 5869, section 2.3: one block is enough.
    return hmac.digest(identity_key(tcti, digest), info + key_id + b"\1", "sha256")


def keyctl(*arguments) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_KEYCTL, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "keyctl")


def serve(config: str, serial: int, description: bytes, uid: int) -> None:
    with open(config) as file:
        tcti = re.search(r'^tcti = "(.*)"$', file.read(), re.M).group(1)
    keyctl(ASSUME_AUTHORITY, serial)
    with open("/proc/keys") as file:
        thread = re.search(rf" key:{serial:x} pid:(\d+)", file.read()).group(1)
    executable = os.readlink(f"/proc/{thread}/exe").encode()
    key = derive(tcti, executable, uid, description.removeprefix(b"tpm2:derived:"))
    keyctl(INSTANTIATE, serial, key, len(key), 0)


match sys.argv[1:]:
    case ["derive", tcti, executable, uid, key_id]:
        print(derive(tcti, executable.encode(), int(uid), key_id.encode()).hex())
    case ["--config", config, serial, _, description, _, uid, _, _]:
        serve(config, int(serial), description.encode(), int(uid))
    case _:
        sys.exit(__doc__)
