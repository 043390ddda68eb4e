// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which key of an identity: section 4 of `docs/derivation.md`.

use crate::identity::length;
use crate::request::{KeyId, KeyType, Request, What};

const LABEL: &[u8] = b"tpm-derived-keys key v1\0";

/// Whether the payload can be read back from the kernel. Keys that can and keys
/// that can't are unrelated, so that none can be had by way of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Use {
    /// 0: `user`, `big_key`.
    Readable = 0,
    /// 1: `logon`, `asymmetric`.
    KernelOnly = 1,
}

impl From<KeyType> for Use {
    fn from(key_type: KeyType) -> Self {
        match key_type {
            KeyType::User | KeyType::BigKey => Self::Readable,
            KeyType::Logon | KeyType::Asymmetric => Self::KernelOnly,
        }
    }
}

/// The `info` of HKDF-Expand, with the length of its output: which key of an
/// identity. Made from a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    what: What,
    usage: Use,
    generation: u32,
    key_id: KeyId,
}

impl From<&Request> for KeyInfo {
    fn from(request: &Request) -> Self {
        Self {
            what: request.what(),
            usage: request.key_type().into(),
            generation: request.generation(),
            key_id: request.key_id().clone(),
        }
    }
}

impl KeyInfo {
    /// What the key is to be.
    pub fn what(&self) -> What {
        self.what
    }

    /// How many bytes are to be derived.
    pub fn okm_length(&self) -> u16 {
        self.row().2
    }

    /// `alg`, `param` and `length` of the table in section 4.
    fn row(&self) -> (u8, u16, u16) {
        match self.what {
            What::Raw(length) => (1, 0, length),
            What::Rsa(bits) => (2, bits, 48),
            What::Ecdsa(bits) => (3, bits, 48),
            What::Ed25519 => (4, 0, 32),
        }
    }

    /// The key info of section 4:
    ///
    /// ```text
    /// `tpm-derived-keys key v1` || 00 || alg (u8) || use (u8) || param (u16)
    ///     || generation (u32) || length (u16) || len(key id) (u16) || key id
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let (alg, param, okm_length) = self.row();
        let key_id = self.key_id.as_bytes();
        // The numbers are 12 bytes.
        let mut bytes = Vec::with_capacity(LABEL.len() + 12 + key_id.len());
        bytes.extend(LABEL);
        bytes.push(alg);
        bytes.push(self.usage as u8);
        bytes.extend(param.to_be_bytes());
        bytes.extend(self.generation.to_be_bytes());
        bytes.extend(okm_length.to_be_bytes());
        bytes.extend(u16::to_be_bytes(length(key_id)));
        bytes.extend(key_id);
        bytes
    }
}
