// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What libtss2's response codes say, and which of its layers says so: section
//! 4 of the TSS 2.0 Overview and Common Structures Specification.

use std::io;

use tpm_derived_keys::tpm::{Failed, ResponseCode};

use crate::ffi::Code;

/// Base codes, which mean the same in all layers above the TPM.
mod base {
    pub(super) const INSUFFICIENT_BUFFER: u32 = 6;
    pub(super) const NO_CONNECTION: u32 = 8;
    pub(super) const TRY_AGAIN: u32 = 9;
    pub(super) const IO_ERROR: u32 = 10;
    pub(super) const NOT_PERMITTED: u32 = 12;
    pub(super) const MALFORMED_RESPONSE: u32 = 17;
    pub(super) const INSUFFICIENT_CONTEXT: u32 = 18;
    pub(super) const INSUFFICIENT_RESPONSE: u32 = 19;
    pub(super) const NOT_SUPPORTED: u32 = 21;
    pub(super) const MEMORY: u32 = 23;
    pub(super) const RSP_AUTH_FAILED: u32 = 27;
}

/// What it means that a command came back with a code other than 0.
pub(crate) fn failed(code: Code) -> Failed {
    match (ResponseCode::new(code), layer(code)) {
        // The TPM, or a resource manager in its place.
        (Some(code), None) => Failed::Response(code),
        _ => Failed::Connection(error(code)),
    }
}

/// What it means that there is no connection. It takes libtss2's `module`, which
/// may be a package of its own.
pub(crate) fn not_open(code: Code, module: &str) -> io::Error {
    match code & 0xFFFF {
        base::NOT_SUPPORTED => {
            let what = format!("libtss2-tcti-{module} is missing");
            io::Error::new(io::ErrorKind::Unsupported, what)
        }
        _ => error(code),
    }
}

/// The layer of libtss2 that a code comes from; `None` for what is below.
fn layer(code: Code) -> Option<&'static str> {
    match code >> 16 {
        0 | 11 | 12 => None,
        7 => Some("ESYS"),
        8 => Some("SYS"),
        9 => Some("MU"),
        10 => Some("TCTI"),
        _ => Some("unknown"),
    }
}

/// A code of libtss2's own. `InvalidData` if it is about a response: the layers
/// above TCTI have nothing else to find fault with.
fn error(code: Code) -> io::Error {
    use io::ErrorKind;
    let layer = layer(code).unwrap_or("unknown");
    let (kind, what) = match (code & 0xFFFF, layer) {
        (base::TRY_AGAIN, _) => (ErrorKind::WouldBlock, "busy"),
        (base::NO_CONNECTION, _) => (ErrorKind::NotConnected, "no connection"),
        (base::IO_ERROR, _) => (ErrorKind::Other, "input or output failed"),
        (base::NOT_PERMITTED, _) => (ErrorKind::PermissionDenied, "not permitted"),
        (base::MEMORY, _) => (ErrorKind::OutOfMemory, "out of memory"),
        (base::MALFORMED_RESPONSE, _) => (ErrorKind::InvalidData, "it is malformed"),
        (base::INSUFFICIENT_RESPONSE, _) => (ErrorKind::InvalidData, "it is too short"),
        (base::RSP_AUTH_FAILED, _) => (
            ErrorKind::InvalidData,
            "it is not from the TPM with the storage key, or was changed",
        ),
        (base::INSUFFICIENT_BUFFER | base::INSUFFICIENT_CONTEXT, _) => {
            (ErrorKind::InvalidData, "it is too long")
        }
        (_, "TCTI") => (ErrorKind::Other, "it failed"),
        _ => (ErrorKind::InvalidData, "it is not understood"),
    };
    io::Error::new(kind, format!("{what} (libtss2, layer {layer}: 0x{code:x})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers() {
        for (code, expected) in [
            (
                0x000A_000A,
                "input or output failed (libtss2, layer TCTI: 0xa000a)",
            ),
            (0x000A_0001, "it failed (libtss2, layer TCTI: 0xa0001)"),
            (0x0008_0013, "it is too short (libtss2, layer SYS: 0x80013)"),
            (
                0x0007_0018,
                "it is not understood (libtss2, layer ESYS: 0x70018)",
            ),
            (0x0009_0006, "it is too long (libtss2, layer MU: 0x90006)"),
        ] {
            let Failed::Connection(error) = failed(code) else {
                panic!("{code:x}");
            };
            assert_eq!(error.to_string(), expected);
        }
        for code in [0x9A2, 0x000B_0143, 0x000C_0902] {
            let Failed::Response(response) = failed(code) else {
                panic!("{code:x}");
            };
            assert_eq!(response.value(), code);
        }
    }

    #[test]
    fn modules_that_are_missing() {
        let says = |code| not_open(code, "tabrmd").to_string();
        assert_eq!(says(0x000A_0015), "libtss2-tcti-tabrmd is missing");
        assert_eq!(
            says(0x000A_000A),
            "input or output failed (libtss2, layer TCTI: 0xa000a)"
        );
    }
}
