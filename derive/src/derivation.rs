// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the identity key to a payload: section 4 of `docs/derivation.md`.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::det_keygen::{self, Curve, DetKeygenError, PrivateKey};
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

    /// Encodes what was asked for: for raw keys, the bytes as they are, for
    /// others the PKCS#8 (in DER, section 6 of `docs/derivation.md`) of the key
    /// that they are the seed of.
    ///
    /// # Errors
    ///
    /// As for [`Okm::private_key`].
    pub fn into_payload(self) -> Result<Payload, DetKeygenError> {
        match self.private_key()? {
            None => Ok(Payload(self.bytes)),
            Some(key) => key.to_pkcs8_der().map(Payload),
        }
    }

    /// The private key that the bytes are the seed of; None for a raw key. RSA
    /// takes a search for primes, milliseconds to seconds.
    ///
    /// # Errors
    ///
    /// A [`DetKeygenError`], if the machine is unsound.
    pub fn private_key(&self) -> Result<Option<PrivateKey>, DetKeygenError> {
        let seed = &self.bytes;
        match self.what {
            What::Raw(_) => return Ok(None),
            What::Rsa(bits) => det_keygen::rsa(seed, bits.into()),
            What::Ecdsa(256) => det_keygen::ecdsa(seed, Curve::P256),
            What::Ecdsa(_) => det_keygen::ecdsa(seed, Curve::P384),
            What::Ed25519 => det_keygen::ed25519(seed),
        }
        .map(Some)
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
    /// As for [`Okm::into_payload`].
    pub fn payload(self) -> Result<Payload, DetKeygenError> {
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
