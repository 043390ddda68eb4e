# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The root keys of docs/derivation.md sections 1, 3 and 7, by raw TPM 2.0 frames.

Commands and responses are laid out with struct as TPM 2.0 Part 3 has them and
go over a stream socket with no extra framing, which is what the data channel
of `swtpm socket` speaks.
"""

import hashlib
import socket
import struct
import time
from dataclasses import dataclass
from types import TracebackType

# TPM 2.0 Part 2, constants.
TPM_ST_NO_SESSIONS = 0x8001
TPM_ST_SESSIONS = 0x8002
TPM_ST_HASHCHECK = 0x8024
TPM_CC_CREATE_PRIMARY = 0x00000131
TPM_CC_SEQUENCE_COMPLETE = 0x0000013E
TPM_CC_HMAC = 0x00000155
TPM_CC_HMAC_START = 0x0000015B
TPM_CC_SIGN = 0x0000015D
TPM_CC_FLUSH_CONTEXT = 0x00000165
TPM_CC_START_AUTH_SESSION = 0x00000176
TPM_CC_GET_CAPABILITY = 0x0000017A
TPM_CC_POLICY_PCR = 0x0000017F
TPM_RC_RETRY = 0x922
TPM_RH_OWNER = 0x40000001
TPM_RH_NULL = 0x40000007
TPM_RS_PW = 0x40000009
TPM_SE_POLICY = 0x01
TPM_CAP_HANDLES = 0x00000001
TRANSIENT_FIRST = 0x80000000
TPM_ALG_HMAC = 0x0005
TPM_ALG_KEYEDHASH = 0x0008
TPM_ALG_SHA256 = 0x000B
TPM_ALG_NULL = 0x0010

# TPM 2.0 Part 2, TPMA_OBJECT.
FIXED_TPM = 1 << 1
FIXED_PARENT = 1 << 4
SENSITIVE_DATA_ORIGIN = 1 << 5
USER_WITH_AUTH = 1 << 6
ADMIN_WITH_POLICY = 1 << 7
NO_DA = 1 << 10
SIGN = 1 << 18

MAX_RESPONSE = 4096
RETRIES = 20
RETRY_PAUSE = 0.05
TIMEOUT = 30.0


class TpmError(Exception):
    """The TPM refused a command, or answered what it may not answer."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message if code is None else f"{message}: {code:#05x}")
        self.code = code


def tpm2b(data: bytes) -> bytes:
    """Part 2, TPM2B structures: size (u16), then the bytes."""
    return struct.pack(">H", len(data)) + data


def _public_head(authorised_by: int, policy: bytes) -> bytes:
    """Sections 1 and 7, tables: all of the TPMT_PUBLIC before `unique`."""
    return (
        struct.pack(">HH", TPM_ALG_KEYEDHASH, TPM_ALG_SHA256)
        + struct.pack(
            ">I",
            FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | NO_DA | SIGN | authorised_by,
        )
        + tpm2b(policy)
        + struct.pack(">HH", TPM_ALG_HMAC, TPM_ALG_SHA256)
    )


_PUBLIC_HEAD = _public_head(USER_WITH_AUTH, b"")
ROOT_TEMPLATE = _PUBLIC_HEAD + tpm2b(b"tpm-derived-keys v1")

# Section 7: what the kernel's root key computes over.
KERNEL_ROOT_DIGEST = hashlib.sha256(b"tpm-derived-keys kernel root v1").digest()
# The digest of one PCR that is zero.
_ZERO_PCR = hashlib.sha256(bytes(32)).digest()


def pcr_selection(pcr: int) -> bytes:
    """Part 2, TPML_PCR_SELECTION: one PCR of the bank of SHA-256."""
    if not 8 <= pcr <= 15:
        raise ValueError(f"PCR {pcr} is none of 8 to 15")
    return struct.pack(">IHB", 1, TPM_ALG_SHA256, 3) + (1 << pcr).to_bytes(3, "little")


def kernel_policy(pcr: int) -> bytes:
    """Section 7: the policy digest after TPM2_PolicyPCR (Part 3)."""
    return hashlib.sha256(
        bytes(32) + struct.pack(">I", TPM_CC_POLICY_PCR) + pcr_selection(pcr) + _ZERO_PCR
    ).digest()


def kernel_root_template(pcr: int) -> bytes:
    """Section 7: the TPMT_PUBLIC of the kernel's root key."""
    return _public_head(ADMIN_WITH_POLICY, kernel_policy(pcr)) + tpm2b(
        b"tpm-derived-keys kernel v1"
    )

# Part 1, password authorization with the empty password (TPMS_AUTH_COMMAND).
_EMPTY_AUTH = struct.pack(">I", TPM_RS_PW) + tpm2b(b"") + b"\0" + tpm2b(b"")


@dataclass(frozen=True)
class Root:
    """A loaded root key: its transient handle and its Name."""

    handle: int
    name: bytes


class Reader:
    """Takes a response apart; a short or an over-long one is a TpmError."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        if len(self._data) < size:
            raise TpmError("response is too short")
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def number(self, size: int) -> int:
        """The next unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def tpm2b(self) -> bytes:
        """The next TPM2B structure's content."""
        return self.take(self.number(2))

    def end(self) -> None:
        """Nothing may be left."""
        if self._data:
            raise TpmError(f"response has {len(self._data)} bytes too many")


def root_name(public: bytes, head: bytes = _PUBLIC_HEAD) -> bytes:
    """Section 1: check the TPMT_PUBLIC of a root key and compute its Name."""
    reader = Reader(public)
    if reader.take(len(head)) != head:
        raise TpmError("the root key's public area differs from the template")
    if len(reader.tpm2b()) != 32:
        raise TpmError("the root key's unique field is not 32 bytes")
    reader.end()
    return struct.pack(">H", TPM_ALG_SHA256) + hashlib.sha256(public).digest()


def _ticket(reader: Reader) -> None:
    """Part 2, TPMT_TK_*: tag, hierarchy, digest. Not used, only passed over."""
    reader.take(2 + 4)
    reader.tpm2b()


def _mac(mac: bytes) -> bytes:
    """Section 3: the identity key is 32 bytes."""
    if len(mac) != 32:
        raise TpmError(f"the TPM's HMAC has {len(mac)} bytes, not 32")
    return mac


def _checked_digest(digest: bytes) -> bytes:
    """Section 3: the root key computes over a 32-byte digest, nothing else."""
    if len(digest) != 32:
        raise ValueError("the root key computes over 32-byte digests only")
    return tpm2b(digest)


class Tpm:
    """One connection to a TPM's command channel."""

    def __init__(self, channel: socket.socket) -> None:
        self._socket = channel
        self._socket.settimeout(TIMEOUT)

    @classmethod
    def open_unix(cls, path: str) -> "Tpm":
        """Connect to a unix stream socket."""
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.connect(path)
        except BaseException:
            channel.close()
            raise
        return cls(channel)

    @classmethod
    def open_tcp(cls, host: str, port: int) -> "Tpm":
        """Connect to a TCP port."""
        return cls(socket.create_connection((host, port), timeout=TIMEOUT))

    def close(self) -> None:
        """Close the connection. What is loaded in the TPM stays there."""
        self._socket.close()

    def __enter__(self) -> "Tpm":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise TpmError("the TPM closed the connection")
            data += part
        return data

    def _exchange(self, frame: bytes) -> tuple[int, int, bytes]:
        """Part 1, command and response structure: (tag, code, the rest)."""
        self._socket.sendall(frame)
        tag, size, code = struct.unpack(">HII", self._receive(10))
        if not 10 <= size <= MAX_RESPONSE:
            raise TpmError(f"response claims to have {size} bytes")
        return tag, code, self._receive(size - 10)

    def _command(
        self, name: str, code: int, handles: list[int], parameters: bytes,
        auth: bool = False, new_handle: bool = False, policy: int = 0,
    ) -> tuple[int, Reader]:
        """Send one command; (the new handle or 0, the response parameters).

        With `auth` it is authorised by the policy session `policy`, which ends by
        that, or else by the empty password.
        """
        tag = TPM_ST_SESSIONS if auth else TPM_ST_NO_SESSIONS
        body = b"".join(struct.pack(">I", handle) for handle in handles)
        if auth:
            session = struct.pack(">I", policy or TPM_RS_PW) + _EMPTY_AUTH[4:]
            body += struct.pack(">I", len(session)) + session
        body += parameters
        frame = struct.pack(">HII", tag, 10 + len(body), code) + body

        for attempt in range(RETRIES + 1):
            if attempt:
                time.sleep(RETRY_PAUSE)
            got_tag, response_code, rest = self._exchange(frame)
            if response_code != TPM_RC_RETRY:
                break
        if response_code != 0:
            raise TpmError(f"{name} failed with response code", response_code)
        if got_tag != tag:
            raise TpmError(f"{name} was answered with tag {got_tag:#06x}")

        reader = Reader(rest)
        handle = reader.number(4) if new_handle else 0
        if auth:
            answer = Reader(reader.take(reader.number(4)))
            # TPMS_AUTH_RESPONSE: nonce, attributes, hmac. A password has no nonce.
            nonce = reader.tpm2b()
            if (nonce and not policy) or reader.number(1) & ~1 or reader.tpm2b():
                raise TpmError(f"{name} was answered with a strange authorization")
            reader.end()
            reader = answer
        return handle, reader

    def create_root(self, kernel_pcr: int | None = None) -> Root:
        """TPM2_CreatePrimary (section 1, or 7). The caller flushes the handle."""
        template, head = ROOT_TEMPLATE, _PUBLIC_HEAD
        if kernel_pcr is not None:
            template = kernel_root_template(kernel_pcr)
            head = _public_head(ADMIN_WITH_POLICY, kernel_policy(kernel_pcr))
        parameters = (
            tpm2b(tpm2b(b"") + tpm2b(b""))  # inSensitive: userAuth, data
            + tpm2b(template)  # inPublic
            + tpm2b(b"")  # outsideInfo
            + struct.pack(">I", 0)  # creationPCR
        )
        handle, reader = self._command(
            "TPM2_CreatePrimary", TPM_CC_CREATE_PRIMARY, [TPM_RH_OWNER],
            parameters, auth=True, new_handle=True,
        )
        try:
            public = reader.tpm2b()
            reader.tpm2b()  # creationData
            reader.tpm2b()  # creationHash
            _ticket(reader)  # creationTicket
            returned = reader.tpm2b()
            reader.end()
            name = root_name(public, head)
            if name != returned:
                raise TpmError("the TPM's Name of the root key is not that of its public area")
        except BaseException:
            self.flush(handle)
            raise
        return Root(handle, name)

    def start_policy(self) -> int:
        """TPM2_StartAuthSession of a policy session; its handle."""
        parameters = (
            tpm2b(bytes(16))  # nonceCaller
            + tpm2b(b"")  # encryptedSalt
            + struct.pack(">BHH", TPM_SE_POLICY, TPM_ALG_NULL, TPM_ALG_SHA256)
        )
        session, reader = self._command(
            "TPM2_StartAuthSession", TPM_CC_START_AUTH_SESSION,
            [TPM_RH_NULL, TPM_RH_NULL], parameters, new_handle=True,
        )
        reader.tpm2b()  # nonceTPM
        reader.end()
        return session

    def policy_pcr(self, session: int, pcr: int) -> None:
        """TPM2_PolicyPCR (section 7): TPM_RC_VALUE unless that PCR is zero."""
        parameters = tpm2b(_ZERO_PCR) + pcr_selection(pcr)
        _, reader = self._command(
            "TPM2_PolicyPCR", TPM_CC_POLICY_PCR, [session], parameters
        )
        reader.end()

    def kernel_secret(self, pcr: int) -> bytes:
        """Section 7: what the kernel takes from its root key. Nothing is left loaded."""
        root = self.create_root(pcr)
        try:
            session = self.start_policy()
            try:
                self.policy_pcr(session, pcr)
                secret = self.hmac(root.handle, KERNEL_ROOT_DIGEST, session)
            except BaseException:
                self.flush(session)
                raise
        finally:
            self.flush(root.handle)
        return secret

    def hmac(self, handle: int, digest: bytes, policy: int = 0) -> bytes:
        """TPM2_HMAC of a 32-byte digest (sections 3 and 7)."""
        parameters = _checked_digest(digest) + struct.pack(">H", TPM_ALG_SHA256)
        _, reader = self._command(
            "TPM2_HMAC", TPM_CC_HMAC, [handle], parameters, auth=True, policy=policy
        )
        mac = reader.tpm2b()
        reader.end()
        return _mac(mac)

    def sign_hmac(self, handle: int, digest: bytes) -> bytes:
        """TPM2_Sign with scheme HMAC and a NULL ticket (section 3)."""
        parameters = (
            _checked_digest(digest)
            + struct.pack(">HH", TPM_ALG_HMAC, TPM_ALG_SHA256)
            + struct.pack(">HI", TPM_ST_HASHCHECK, TPM_RH_NULL)
            + tpm2b(b"")
        )
        _, reader = self._command("TPM2_Sign", TPM_CC_SIGN, [handle], parameters, auth=True)
        if (reader.number(2), reader.number(2)) != (TPM_ALG_HMAC, TPM_ALG_SHA256):
            raise TpmError("TPM2_Sign answered with another scheme")
        mac = reader.take(32)
        reader.end()
        return mac

    def hmac_sequence(self, handle: int, digest: bytes) -> bytes:
        """TPM2_HMAC_Start, then TPM2_SequenceComplete (section 3)."""
        buffer = _checked_digest(digest)
        sequence, reader = self._command(
            "TPM2_HMAC_Start", TPM_CC_HMAC_START, [handle],
            tpm2b(b"") + struct.pack(">H", TPM_ALG_SHA256), auth=True, new_handle=True,
        )
        try:
            reader.end()
            _, reader = self._command(
                "TPM2_SequenceComplete", TPM_CC_SEQUENCE_COMPLETE, [sequence],
                buffer + struct.pack(">I", TPM_RH_NULL), auth=True,
            )
        except TpmError:
            self.flush(sequence)
            raise
        mac = reader.tpm2b()
        _ticket(reader)
        reader.end()
        return _mac(mac)

    def flush(self, handle: int) -> None:
        """TPM2_FlushContext: flushHandle is a parameter, not in the handle area."""
        _, reader = self._command(
            "TPM2_FlushContext", TPM_CC_FLUSH_CONTEXT, [], struct.pack(">I", handle)
        )
        reader.end()

    def transient_handles(self) -> list[int]:
        """TPM2_GetCapability, TPM_CAP_HANDLES: the loaded transient objects."""
        parameters = struct.pack(">III", TPM_CAP_HANDLES, TRANSIENT_FIRST, 64)
        _, reader = self._command(
            "TPM2_GetCapability", TPM_CC_GET_CAPABILITY, [], parameters
        )
        if reader.number(1):
            raise TpmError("more transient objects than asked for")
        if reader.number(4) != TPM_CAP_HANDLES:
            raise TpmError("TPM2_GetCapability answered with another capability")
        handles = [reader.number(4) for _ in range(reader.number(4))]
        reader.end()
        return handles
