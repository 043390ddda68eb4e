// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How keys are printed.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::ValueEnum;
use zeroize::{Zeroize, Zeroizing};

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Format {
    Hex,
    Base64,
    Raw,
}

impl Format {
    pub(crate) fn encode(self, bytes: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut text = match self {
            Self::Raw => return Zeroizing::new(bytes.to_vec()),
            Self::Hex => hex::encode(bytes),
            Self::Base64 => BASE64_STANDARD.encode(bytes),
        };
        // With room for the newline, so that no copy is left behind.
        let mut line = Zeroizing::new(Vec::with_capacity(text.len() + 1));
        line.extend_from_slice(text.as_bytes());
        line.push(b'\n');
        text.zeroize();
        line
    }
}
