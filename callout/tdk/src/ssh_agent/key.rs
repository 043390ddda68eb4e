// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An RSA key that the kernel keeps, and signs with.

use std::fmt;
use std::io;

use rsa::traits::PublicKeyParts;
use rsa::{BigUint, Pkcs1v15Sign, RsaPublicKey};
use sha2::{Digest, Sha256, Sha512};

use super::modulus::modulus;
use super::protocol::Scheme;

/// The only exponent that derived keys have.
const EXPONENT: u32 = 65537;

/// A key of the kernel's, which the calling thread possesses, and its public half.
#[derive(Debug)]
pub(super) struct KernelKey {
    serial: i32,
    public: RsaPublicKey,
}

/// Why a key can't sign.
#[derive(Debug)]
pub(crate) enum KeyError {
    /// The kernel refuses to use it.
    Kernel(io::Error),
    /// The kernel does not do with it what it does with an RSA key of that size.
    NotRsa,
    /// A signature of the kernel's is wrong.
    Wrong,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => write!(f, "the kernel can't sign with the key: {error}"),
            Self::NotRsa => write!(f, "the key is not the RSA key that was asked for"),
            Self::Wrong => write!(f, "the kernel has made a wrong signature"),
        }
    }
}

impl KernelKey {
    /// Learns the public half of a key of so many bits, and tries both.
    pub(super) fn new(serial: i32, bits: u16) -> Result<Self, KeyError> {
        let size = usize::from(bits);
        let found = tdk_sys::pkey_size(serial, c"enc=raw").map_err(KeyError::Kernel)?;
        if found != u32::from(bits) {
            return Err(KeyError::NotRsa);
        }
        let encrypt = |number: u16| {
            let number = number.to_be_bytes();
            let encrypted = tdk_sys::pkey_encrypt(serial, c"enc=raw", &number, size / 8)?;
            Ok(BigUint::from_bytes_be(&encrypted))
        };
        let modulus = modulus(size, encrypt).map_err(KeyError::Kernel)?;
        let public = modulus.and_then(|n| RsaPublicKey::new(n, EXPONENT.into()).ok());
        let key = Self {
            serial,
            public: public.ok_or(KeyError::NotRsa)?,
        };
        // The signature is verified.
        key.sign(Scheme::Sha256, b"tdk ssh-agent")?;
        Ok(key)
    }

    /// Signs as RFC 8332 has it: rsa-sha2-256 or rsa-sha2-512.
    ///
    /// A signature that is wrong, by some fault, could tell the private key to
    /// whoever sees it: nobody does.
    pub(super) fn sign(&self, scheme: Scheme, data: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (info, padding, digest) = match scheme {
            Scheme::Sha256 => (
                c"enc=pkcs1 hash=sha256",
                Pkcs1v15Sign::new::<Sha256>(),
                Sha256::digest(data).to_vec(),
            ),
            Scheme::Sha512 => (
                c"enc=pkcs1 hash=sha512",
                Pkcs1v15Sign::new::<Sha512>(),
                Sha512::digest(data).to_vec(),
            ),
        };
        let signature = tdk_sys::pkey_sign(self.serial, info, &digest, self.public.size())
            .map_err(KeyError::Kernel)?;
        self.public
            .verify(padding, &digest, &signature)
            .map_err(|_| KeyError::Wrong)?;
        Ok(signature)
    }

    pub(super) fn public(&self) -> &RsaPublicKey {
        &self.public
    }
}
