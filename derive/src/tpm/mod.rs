// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The TPM's part: a root key that is made when needed, one keyed hash, a flush.
//!
//! This is the only module that talks to a TPM. What it asks of one is the
//! trait [`Tpm`]. A [`Session`] is one over a [`Connection`]; [`Direct`] is the
//! one to devices and software TPMs, and others can be made elsewhere. [`Fake`]
//! is for tests that need none.

use std::fmt;
use std::str::FromStr;

use crate::derivation::IdentityKey;
use crate::identity::IdentityDigest;

mod code;
mod connection;
mod diagnosis;
mod direct;
mod error;
mod fake;
mod owner_auth;
mod patience;
mod pcr_policy;
mod root;
mod session;
mod storage_key;
mod tcti;
mod trust;
mod turn;

pub use code::ResponseCode;
pub use connection::{Connection, Created, Failed, Object, Place, SequencePassword};
pub use diagnosis::Probe;
#[cfg(feature = "fuzzing")]
pub(crate) use direct::fuzzing;
pub use direct::{Direct, Properties, Wire};
pub use error::{Cause, Command, TpmError};
pub use fake::Fake;
pub use owner_auth::OwnerAuth;
pub use patience::Patience;
pub use pcr_policy::{PcrBank, PcrPolicy, PcrPolicyError};
pub use session::Session;
pub use storage_key::{Hierarchy, PERSISTENT_STORAGE_KEY, StorageAlgorithm, StorageKey};
pub use tcti::{Tcti, TctiError};
pub use trust::{Bus, Trust};
pub use turn::make_lock_directory;

/// What a derivation needs of a TPM: section 1 and 3 of `docs/derivation.md`.
///
/// Use it through [`RootKey`], which flushes what it loads.
pub trait Tpm {
    /// TPM2_CreatePrimary (Part 3, section 24.1) with the root template.
    ///
    /// # Errors
    ///
    /// A [`TpmError`]; nothing is left loaded then.
    fn create_root(&mut self) -> Result<LoadedRoot, TpmError>;

    /// TPM2_HMAC (Part 3, section 15.5) of the digest under the root key, or
    /// what gives the same bytes on a TPM that lacks the command.
    ///
    /// # Errors
    ///
    /// A [`TpmError`]; the root stays loaded.
    fn hmac(&mut self, root: &LoadedRoot, digest: &IdentityDigest)
    -> Result<IdentityKey, TpmError>;

    /// TPM2_FlushContext (Part 3, section 28.4) of the root key.
    ///
    /// # Errors
    ///
    /// A [`TpmError`], if the root may still be loaded.
    fn flush(&mut self, root: LoadedRoot) -> Result<(), TpmError>;
}

/// Whichever TPM is in the box.
impl<T: Tpm + ?Sized> Tpm for Box<T> {
    fn create_root(&mut self) -> Result<LoadedRoot, TpmError> {
        (**self).create_root()
    }

    fn hmac(
        &mut self,
        root: &LoadedRoot,
        digest: &IdentityDigest,
    ) -> Result<IdentityKey, TpmError> {
        (**self).hmac(root, digest)
    }

    fn flush(&mut self, root: LoadedRoot) -> Result<(), TpmError> {
        (**self).flush(root)
    }
}

/// A root key that occupies a slot in the TPM.
#[derive(Debug)]
pub struct LoadedRoot {
    object: u32,
    name: Name,
}

impl LoadedRoot {
    /// What the connection calls it.
    pub fn object(&self) -> u32 {
        self.object
    }
}

/// A root key for as long as it is needed: made at the start, flushed at the
/// end, also when something fails or panics in between.
#[derive(Debug)]
pub struct RootKey<'t, T: Tpm> {
    tpm: &'t mut T,
    loaded: Option<LoadedRoot>,
    name: Name,
}

impl<'t, T: Tpm> RootKey<'t, T> {
    /// Makes the root key in `tpm`.
    ///
    /// # Errors
    ///
    /// A [`TpmError`] of TPM2_CreatePrimary.
    pub fn create(tpm: &'t mut T) -> Result<Self, TpmError> {
        let loaded = tpm.create_root()?;
        Ok(Self {
            tpm,
            name: loaded.name,
            loaded: Some(loaded),
        })
    }

    /// `000b || SHA-256(public area)`: which root key this is, and so which
    /// owner seed the TPM has.
    pub fn name(&self) -> Name {
        self.name
    }

    /// `identity key = TPM2_HMAC(root key, identity digest)`.
    ///
    /// # Errors
    ///
    /// A [`TpmError`] of TPM2_HMAC or TPM2_Sign.
    pub fn identity_key(&mut self, digest: &IdentityDigest) -> Result<IdentityKey, TpmError> {
        let loaded = self.loaded.as_ref().expect("loaded until flushed");
        self.tpm.hmac(loaded, digest)
    }

    /// Flushes the root key. Dropping does the same, but can't say whether it
    /// worked.
    ///
    /// # Errors
    ///
    /// A [`TpmError`] of TPM2_FlushContext.
    pub fn flush(mut self) -> Result<(), TpmError> {
        self.flush_once()
    }

    fn flush_once(&mut self) -> Result<(), TpmError> {
        match self.loaded.take() {
            Some(loaded) => self.tpm.flush(loaded),
            None => Ok(()),
        }
    }
}

impl<T: Tpm> Drop for RootKey<'_, T> {
    fn drop(&mut self) {
        // What failed before is what the caller hears of.
        let _ = self.flush_once();
    }
}

/// The Name of a root key: its name algorithm and the digest of its public
/// area, 34 bytes (Part 1, section 16).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name([u8; Self::SIZE]);

impl Name {
    /// 2 bytes of algorithm and 32 of digest.
    pub const SIZE: usize = 34;

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

/// From hexadecimal, as it is displayed.
impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut name = [0; Self::SIZE];
        if text.len() != 2 * Self::SIZE || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NameError);
        }
        for (index, byte) in name.iter_mut().enumerate() {
            let digits = &text[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NameError)?;
        }
        if name[..2] == [0x00, 0x0B] {
            Ok(Self(name))
        } else {
            Err(NameError)
        }
    }
}

/// A text that is no Name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError;

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a Name is 000b and 64 more hexadecimal digits")
    }
}

impl std::error::Error for NameError {}

/// In hexadecimal.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_hexadecimal() {
        let text = format!("000b{}", "0f".repeat(32));
        assert_eq!(text.parse::<Name>().unwrap().to_string(), text);
        let upper = text.to_uppercase();
        assert_eq!(upper.parse::<Name>().unwrap().to_string(), text);
        for other in [
            "",
            &text[2..],
            &text.replace("0f", "+f"),
            &text.replace("000b", "000c"),
            &format!("{text}0"),
            &format!(" {}", &text[1..]),
        ] {
            assert_eq!(other.parse::<Name>(), Err(NameError), "{other}");
        }
    }
}
