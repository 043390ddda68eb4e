// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asking carefully.
//!
//! The kernel returns a key that it finds in the asker's keyrings, whoever put
//! it there: `docs/data-flow.md`, "Ask carefully". The keyrings are the calling
//! thread's: so a thread is started that has none of its own (a new thread's
//! thread keyring is empty), joins a new session keyring, asks into that one,
//! reads, and ends. Nothing of the calling thread's changes. (A key that can't be
//! read stays in a [`Session`].)
//!
//! - The process keyring remains. It is the only one that other threads see, too,
//!   and only this process can write to it; a key in there is an error.
//! - A program that answers somebody's request itself (another callout) would also
//!   search that asker's keyrings: its authority is laid down first.
//! - A user's own default for where keys go (`KEYCTL_SET_REQKEY_KEYRING`) does not
//!   matter, since the keyring is named.
//!
//! After that, whoever was asked made the key. That it was the callout, and not
//! another line in request-key's configuration, is seen by its group.

use std::ffi::{CStr, CString};
use std::thread;

use linux_keyutils::{Key as KernelKey, KeySerialId};
use zeroize::Zeroizing;

use crate::error::{Error, other};
use crate::key::Key;
use crate::session::{self, Session};

/// What every derived key's description begins with.
const PREFIX: &[u8] = b"tpm2:derived:";

/// What the key is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// That many bytes, 1 to 1024.
    Bytes(u16),
    /// An RSA key with a modulus of that many bits: 2048, 3072 or 4096. Its bytes
    /// are PKCS#8 (RFC 5958) in DER, as with the following.
    Rsa(u16),
    /// An ECDSA key on P-256.
    P256,
    /// An ECDSA key on P-384.
    P384,
    /// An Ed25519 key.
    Ed25519,
}

impl What {
    fn word(self) -> Result<String, Error> {
        match self {
            Self::Bytes(length @ 1..=1024) => Ok(length.to_string()),
            Self::Bytes(length) => Err(Error::Length(length)),
            Self::Rsa(bits @ (2048 | 3072 | 4096)) => Ok(format!("rsa{bits}")),
            Self::Rsa(bits) => Err(Error::Bits(bits)),
            Self::P256 => Ok("p256".into()),
            Self::P384 => Ok("p384".into()),
            Self::Ed25519 => Ok("ed25519".into()),
        }
    }

    /// Whether these bytes can be the key: by their length, which the derivation
    /// fixes. For RSA's PKCS#8 its outermost element tells it (X.690, 8.1.3); a modulus,
    /// an exponent and five numbers of half their length are in it, and little else.
    fn may_be(self, key: &[u8]) -> bool {
        let fixed = match self {
            Self::Bytes(length) => length.into(),
            Self::P256 => 138,
            Self::P384 => 185,
            Self::Ed25519 => 48,
            Self::Rsa(bits) => match *key {
                [0x30, 0x82, high, low, ..] => {
                    let length = 4 + u16::from_be_bytes([high, low]);
                    let numbers = bits / 16 * 9;
                    if !(numbers..numbers + 100).contains(&length) {
                        return false;
                    }
                    length.into()
                }
                _ => return false,
            },
        };
        key.len() == fixed
    }
}

/// More than the longest key has, the PKCS#8 of 4096 bits.
const ENOUGH: usize = 4096;

/// By what the calling program is to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// Its executable's path.
    Path,
    /// Its executable's SHA-256, wherever it is.
    Csum,
    /// Its user only: any program of this user gets the same key.
    Id,
    /// Its cgroup v2 path: under systemd its unit, which a process can't leave by
    /// itself.
    Cgroup,
    /// The fs-verity digest of its executable, wherever it is.
    Verity,
}

impl Identity {
    fn word(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Csum => "csum",
            Self::Id => "id",
            Self::Cgroup => "cgroup",
            Self::Verity => "verity",
        }
    }
}

/// The key type by which the kernel has the key. The first two hand it over, and
/// give the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyType {
    /// `user`, which every kernel with keyrings has.
    #[default]
    User,
    /// `big_key`.
    BigKey,
    /// `asymmetric`: an RSA key that nobody can read, and the kernel uses; for
    /// [`Session::ask`]. It is another one than that of the same name which can be
    /// read.
    Asymmetric,
}

impl KeyType {
    fn name(self) -> &'static CStr {
        match self {
            Self::User => c"user",
            Self::BigKey => c"big_key",
            Self::Asymmetric => c"asymmetric",
        }
    }
}

/// A request for the calling program's own key.
#[derive(Clone, Debug)]
pub struct Request {
    key_id: Vec<u8>,
    what: What,
    identity: Identity,
    generation: u32,
    key_type: KeyType,
}

impl Request {
    /// A request for generation 0 of a key. The key id is any name: other names,
    /// other keys.
    pub fn new(key_id: impl AsRef<[u8]>, what: What, identity: Identity) -> Self {
        Self {
            key_id: key_id.as_ref().to_vec(),
            what,
            identity,
            generation: 0,
            key_type: KeyType::default(),
        }
    }

    /// Asks for another generation.
    #[must_use]
    pub fn generation(mut self, generation: u32) -> Self {
        self.generation = generation;
        self
    }

    /// Asks by another key type.
    #[must_use]
    pub fn key_type(mut self, key_type: KeyType) -> Self {
        self.key_type = key_type;
        self
    }

    /// Asks the kernel, and waits until the callout has answered.
    ///
    /// The TPM takes milliseconds to seconds, and requests wait for each other;
    /// at most about two minutes.
    ///
    /// # Errors
    ///
    /// An [`Error`] that says why there is no key, with a
    /// [hint](Error::hint).
    pub fn ask(&self) -> Result<Key, Error> {
        if self.key_type == KeyType::Asymmetric {
            return Err(Error::Unreadable);
        }
        let description = self.description()?;
        let callout_info = self.callout_info()?;
        let asking = || self.ask_in_new_session(&description, &callout_info);
        thread::scope(|scope| {
            let asker = thread::Builder::new()
                .name("tdk-client".into())
                .spawn_scoped(scope, asking)
                .map_err(Error::System)?;
            match asker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// For a thread of its own, which ends afterwards.
    fn ask_in_new_session(&self, description: &CStr, callout_info: &CStr) -> Result<Key, Error> {
        Session::join()?;
        let serial = session::ask(self.key_type.name(), description, callout_info)?;
        let key = self.read(serial);
        session::unlink(serial);
        key
    }

    fn read(&self, serial: i32) -> Result<Key, Error> {
        let mut bytes = Zeroizing::new(vec![0; ENOUGH]);
        let read = KernelKey::from_id(KeySerialId(serial))
            .read(&mut bytes)
            .map_err(other)?;
        // The kernel tells how long it is even where it does not fit.
        match bytes.get(..read) {
            Some(key) if self.what.may_be(key) => Ok(Key::new(Zeroizing::new(key.to_vec()))),
            _ => Err(Error::OtherLength(read)),
        }
    }

    pub(crate) fn key_type_name(&self) -> &'static CStr {
        self.key_type.name()
    }

    pub(crate) fn description(&self) -> Result<CString, Error> {
        if !(1..=255).contains(&self.key_id.len()) {
            return Err(Error::KeyIdLength(self.key_id.len()));
        }
        CString::new([PREFIX, &self.key_id].concat()).map_err(|_| Error::KeyIdNul)
    }

    pub(crate) fn callout_info(&self) -> Result<CString, Error> {
        let (what, identity) = (self.what.word()?, self.identity.word());
        let words = format!("{what} {identity} gen={}", self.generation);
        Ok(CString::new(words).expect("words have no byte 0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key_id: impl AsRef<[u8]>) -> Request {
        Request::new(key_id, What::Bytes(32), Identity::Path)
    }

    #[test]
    fn the_words_of_a_request() {
        let words = |request: &Request| request.callout_info().unwrap().into_string().unwrap();
        assert_eq!(words(&request("x")), "32 path gen=0");
        assert_eq!(words(&request("x").generation(7)), "32 path gen=7");
        for (identity, word) in [
            (Identity::Csum, "csum"),
            (Identity::Id, "id"),
            (Identity::Cgroup, "cgroup"),
            (Identity::Verity, "verity"),
        ] {
            let request = Request::new("x", What::Bytes(1024), identity);
            assert_eq!(words(&request), format!("1024 {word} gen=0"));
        }
        for (what, word) in [
            (What::Rsa(3072), "rsa3072"),
            (What::P256, "p256"),
            (What::P384, "p384"),
            (What::Ed25519, "ed25519"),
        ] {
            let request = Request::new("x", what, Identity::Csum);
            assert_eq!(words(&request), format!("{word} csum gen=0"));
        }
        for bits in [0, 1024, 2049, 8192] {
            let request = Request::new("x", What::Rsa(bits), Identity::Csum);
            assert!(matches!(request.ask(), Err(Error::Bits(b)) if b == bits));
        }
        for length in [0, 1025, u16::MAX] {
            let request = Request::new("x", What::Bytes(length), Identity::Csum);
            assert!(matches!(request.ask(), Err(Error::Length(l)) if l == length));
        }
    }

    #[test]
    fn what_keys_look_like() {
        let bytes = What::Bytes(3);
        assert!(bytes.may_be(b"abc") && !bytes.may_be(b"ab") && !bytes.may_be(b"abcd"));
        assert!(What::P256.may_be(&[0; 138]) && !What::P256.may_be(&[0; 137]));
        assert!(What::P384.may_be(&[0; 185]) && What::Ed25519.may_be(&[0; 48]));
        let rsa = What::Rsa(2048);
        let whole = [&[0x30, 0x82, 4, 190][..], &[0; 1214]].concat();
        assert!(rsa.may_be(&whole));
        assert!(!rsa.may_be(&whole[..1217]) && !rsa.may_be(&[&whole[..], &[0]].concat()));
        assert!(!What::Rsa(3072).may_be(&whole) && !What::Rsa(4096).may_be(&whole));
        assert!(!rsa.may_be(b"") && !rsa.may_be(&[0x30, 0x80, 0, 0]));
    }

    #[test]
    fn key_ids_that_are_none() {
        for length in [0, 256, 5000, 100_000] {
            let error = request(vec![b'k'; length]).ask().unwrap_err();
            assert!(matches!(error, Error::KeyIdLength(l) if l == length));
        }
        assert!(matches!(request(b"a\0b").ask(), Err(Error::KeyIdNul)));
    }

    #[test]
    fn keys_that_nobody_can_read() {
        let request = request("x").key_type(KeyType::Asymmetric);
        assert!(matches!(request.ask(), Err(Error::Unreadable)));
    }
}
