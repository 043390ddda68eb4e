// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How the bytes of keys are printed.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::ValueEnum;
use pem_rfc7468::LineEnding;
use zeroize::{Zeroize, Zeroizing};

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Format {
    Hex,
    Base64,
    Raw,
    /// The PKCS#8 of a key that is not plain bytes.
    Pem,
}

impl Format {
    pub(crate) fn encode(self, bytes: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut text = match self {
            Self::Raw => return Zeroizing::new(bytes.to_vec()),
            Self::Hex => hex::encode(bytes),
            Self::Base64 => BASE64_STANDARD.encode(bytes),
            Self::Pem => return pem(bytes),
        };
        // With room for the newline, so that no copy is left behind.
        let mut line = Zeroizing::new(Vec::with_capacity(text.len() + 1));
        line.extend_from_slice(text.as_bytes());
        line.push(b'\n');
        text.zeroize();
        line
    }
}

/// PKCS#8 as text (RFC 7468, section 10).
fn pem(pkcs8: &[u8]) -> Zeroizing<Vec<u8>> {
    pem_rfc7468::encode_string("PRIVATE KEY", LineEnding::LF, pkcs8)
        .map(|text| Zeroizing::new(text.into_bytes()))
        .expect("there is room for every key in a string")
}
