// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ed25519 keys, which are their seeds.

use super::{DetKeygenError, PrivateKey};

pub(super) fn generate(private: &[u8]) -> Result<PrivateKey, DetKeygenError> {
    private
        .try_into()
        .map(|private| PrivateKey::Ed25519(Box::new(private)))
        .map_err(|_| DetKeygenError::Ed25519Seed(private.len()))
}
