// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is asked for.

use std::fmt;

use zeroize::Zeroizing;

/// A derived key. Its bytes are wiped when it is dropped, and never printed.
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}
