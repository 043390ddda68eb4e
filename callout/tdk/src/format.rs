// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How the bytes of keys are printed.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::ValueEnum;
use pem_rfc7468::LineEnding;
use zeroize::Zeroizing;

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
        // Written where it stays, so that no copy is left behind.
        match self {
            Self::Raw => Zeroizing::new(bytes.to_vec()),
            Self::Hex => {
                let digits = 2 * bytes.len();
                let mut line = Zeroizing::new(vec![b'\n'; digits + 1]);
                hex::encode_to_slice(bytes, &mut line[..digits]).expect("two digits a byte");
                line
            }
            Self::Base64 => {
                let digits = 4 * bytes.len().div_ceil(3);
                let mut line = Zeroizing::new(vec![b'\n'; digits + 1]);
                let written = BASE64_STANDARD.encode_slice(bytes, &mut line);
                written.expect("four digits for three bytes, padded");
                line
            }
            Self::Pem => pem(bytes),
        }
    }
}

/// PKCS#8 as text (RFC 7468, section 10).
fn pem(pkcs8: &[u8]) -> Zeroizing<Vec<u8>> {
    pem_rfc7468::encode_string("PRIVATE KEY", LineEnding::LF, pkcs8)
        .map(|text| Zeroizing::new(text.into_bytes()))
        .expect("there is room for every key in a string")
}
