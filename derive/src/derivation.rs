// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the identity key to a payload: section 4 of `docs/derivation.md`.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::key_info::KeyInfo;
use crate::request::What;

/// What the TPM computes for an identity: 32 secret bytes, wiped when dropped.
pub struct IdentityKey(Zeroizing<[u8; 32]>);

impl IdentityKey {
    /// Takes the bytes that TPM2_HMAC returned.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Whether both are the same, in a time that does not depend on it.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }

    /// `okm = HKDF-Expand(identity key, key info, length)`, RFC 5869 section
    /// 2.3. Costs no TPM operation, so one identity key serves any number of
    /// keys.
    pub fn expand(&self, info: &KeyInfo) -> Okm {
        let mut okm = Zeroizing::new(vec![0; usize::from(info.okm_length())]);
        Hkdf::<Sha256>::from_prk(&*self.0)
            .expect("32 bytes are a PRK for SHA-256")
            .expand(&info.to_bytes(), &mut okm)
            .expect("at most 1024 of the 8160 bytes that HKDF-SHA256 can give");
        Okm {
            bytes: okm,
            what: info.what(),
        }
    }
}

/// Says nothing about the key.
impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey(..)")
    }
}

/// Derived bytes, wiped when dropped: the key itself or the seed of one.
pub struct Okm {
    bytes: Zeroizing<Vec<u8>>,
    what: What,
}

impl Okm {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Encodes what was asked for: for raw keys, the bytes as they are.
    ///
    /// # Errors
    ///
    /// [`NotServed`] for a seed of an asymmetric key, which this release does
    /// not turn into one.
    pub fn into_payload(self) -> Result<Payload, NotServed> {
        match self.what {
            What::Raw(_) => Ok(Payload(self.bytes)),
            other => Err(NotServed(other)),
        }
    }
}

/// Says nothing about the key.
impl fmt::Debug for Okm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Okm({} bytes)", self.bytes.len())
    }
}

/// An allowed request whose identity key is there. The last stage is
/// [`Unlocked::payload`].
#[derive(Debug)]
pub struct Unlocked {
    identity_key: IdentityKey,
    key_info: KeyInfo,
}

impl Unlocked {
    pub(crate) fn new(identity_key: IdentityKey, key_info: KeyInfo) -> Self {
        Self {
            identity_key,
            key_info,
        }
    }

    /// Last stage: computes what goes into the key.
    ///
    /// # Errors
    ///
    /// [`NotServed`] as for [`Okm::into_payload`].
    pub fn payload(self) -> Result<Payload, NotServed> {
        self.identity_key.expand(&self.key_info).into_payload()
    }
}

/// The bytes a key of the kernel is instantiated with, wiped when dropped.
pub struct Payload(Zeroizing<Vec<u8>>);

impl Payload {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Says nothing about the key.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// A kind of key that this release derives the seed of, but does not encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotServed(pub What);

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this release does not make {}", self.0)
    }
}

impl std::error::Error for NotServed {}
