// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A key and its encodings.

use std::fmt;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::KeypairBytes;
use rsa::RsaPrivateKey;
use rsa::pkcs8::der::pem::PemLabel as _;
use rsa::pkcs8::{
    Document, EncodePrivateKey as _, EncodePublicKey as _, LineEnding, PrivateKeyInfo,
    SecretDocument,
};
use zeroize::Zeroizing;

use super::DetKeygenError;

const CANT_ENCODE: DetKeygenError = DetKeygenError::Key("the key can't be encoded");

/// A private key, wiped when dropped.
#[non_exhaustive]
pub enum PrivateKey {
    /// RSA with two primes, the first one found first.
    Rsa(Box<RsaPrivateKey>),
    /// ECDSA over P-256.
    P256(p256::SecretKey),
    /// ECDSA over P-384.
    P384(p384::SecretKey),
    /// Ed25519.
    Ed25519(Box<SigningKey>),
}

impl PrivateKey {
    /// PKCS#8 in DER, the same bytes in every release:
    ///
    /// - RSA: version 0, rsaEncryption with NULL, the RSAPrivateKey of RFC 8017
    ///   with prime1 as it was found first;
    /// - ECDSA: version 0, id-ecPublicKey with the curve, an ECPrivateKey (RFC
    ///   5915) without parameters of its own, with the uncompressed public key;
    /// - Ed25519: RFC 8410, version 0, without the public key, 48 bytes.
    ///
    /// # Errors
    ///
    /// [`DetKeygenError::Key`], if the library for keys fails.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, DetKeygenError> {
        Ok(self.to_document()?.to_bytes())
    }

    /// The same in PEM (RFC 7468, section 10), lines ending in a line feed.
    ///
    /// # Errors
    ///
    /// As for [`PrivateKey::to_pkcs8_der`].
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, DetKeygenError> {
        self.to_document()?
            .to_pem(PrivateKeyInfo::PEM_LABEL, LineEnding::LF)
            .map_err(|_| CANT_ENCODE)
    }

    /// The public key, as SubjectPublicKeyInfo in DER (RFC 5280, section 4.1):
    /// rsaEncryption with NULL (RFC 3279), id-ecPublicKey with the curve and the
    /// uncompressed point (RFC 5480), or Ed25519 (RFC 8410).
    ///
    /// # Errors
    ///
    /// As for [`PrivateKey::to_pkcs8_der`].
    pub fn to_public_der(&self) -> Result<Vec<u8>, DetKeygenError> {
        Ok(self.to_public_document()?.into_vec())
    }

    /// The same in PEM (RFC 7468, section 13), lines ending in a line feed.
    ///
    /// # Errors
    ///
    /// As for [`PrivateKey::to_pkcs8_der`].
    pub fn to_public_pem(&self) -> Result<String, DetKeygenError> {
        self.to_public_document()?
            .to_pem("PUBLIC KEY", LineEnding::LF)
            .map_err(|_| CANT_ENCODE)
    }

    fn to_public_document(&self) -> Result<Document, DetKeygenError> {
        match self {
            Self::Rsa(key) => key.to_public_key().to_public_key_der(),
            Self::P256(key) => key.public_key().to_public_key_der(),
            Self::P384(key) => key.public_key().to_public_key_der(),
            Self::Ed25519(key) => key.verifying_key().to_public_key_der(),
        }
        .map_err(|_| CANT_ENCODE)
    }

    fn to_document(&self) -> Result<SecretDocument, DetKeygenError> {
        match self {
            Self::Rsa(key) => key.to_pkcs8_der(),
            Self::P256(key) => key.to_pkcs8_der(),
            Self::P384(key) => key.to_pkcs8_der(),
            Self::Ed25519(key) => KeypairBytes {
                secret_key: key.to_bytes(),
                public_key: None,
            }
            .to_pkcs8_der(),
        }
        .map_err(|_| CANT_ENCODE)
    }
}

/// Says nothing about the key, but its kind.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa(_) => "Rsa(..)",
            Self::P256(_) => "P256(..)",
            Self::P384(_) => "P384(..)",
            Self::Ed25519(_) => "Ed25519(..)",
        })
    }
}
