// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Not a TPM.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Command, LoadedRoot, Name, ResponseCode, Tpm, TpmError};
use crate::derivation::IdentityKey;
use crate::identity::IdentityDigest;

/// A fake TPM in memory, for unit tests and examples: its root key's secret is
/// known, so what it protects is nothing.
#[derive(Debug)]
pub struct Fake {
    secret: [u8; 32],
    loaded: u32,
    commands: u32,
    failing: Option<(Command, ResponseCode)>,
}

impl Fake {
    /// A fake whose root key has that secret value.
    pub fn with_root_secret(secret: [u8; 32]) -> Self {
        Self {
            secret,
            loaded: 0,
            commands: 0,
            failing: None,
        }
    }

    /// From now on, answers `command` with `code`.
    pub fn fail(&mut self, command: Command, code: ResponseCode) {
        self.failing = Some((command, code));
    }

    /// How many objects are loaded.
    pub fn loaded(&self) -> u32 {
        self.loaded
    }

    /// How many commands it has been sent.
    pub fn commands(&self) -> u32 {
        self.commands
    }

    fn receive(&mut self, command: Command) -> Result<(), TpmError> {
        self.commands += 1;
        match self.failing {
            Some((failing, code)) if failing == command => {
                Err(TpmError::Response { command, code })
            }
            _ => Ok(()),
        }
    }
}

impl Tpm for Fake {
    fn create_root(&mut self) -> Result<LoadedRoot, TpmError> {
        self.receive(Command::CreatePrimary)?;
        self.loaded += 1;
        let mut name = [0; Name::SIZE];
        name[1] = 0x0B;
        name[2..].copy_from_slice(&Sha256::digest(self.secret));
        Ok(LoadedRoot {
            object: 0x8000_0000,
            name: Name(name),
        })
    }

    fn hmac(&mut self, _: &LoadedRoot, digest: &IdentityDigest) -> Result<IdentityKey, TpmError> {
        self.receive(Command::Hmac)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes any key");
        mac.update(digest.as_bytes());
        Ok(IdentityKey::new(Zeroizing::new(
            mac.finalize().into_bytes().into(),
        )))
    }

    fn flush(&mut self, _: LoadedRoot) -> Result<(), TpmError> {
        self.receive(Command::FlushContext)?;
        self.loaded -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::RootKey;
    use super::*;
    use crate::identity::{Identity, Realm, Scope, Subject};

    fn digest() -> IdentityDigest {
        Identity::new(Subject::Id, Scope::Uid, 0, Realm::default())
            .unwrap()
            .digest()
    }

    #[test]
    fn the_root_is_flushed_on_every_path() {
        let busy = ResponseCode::new(0x922).unwrap();
        for failing in [None, Some(Command::CreatePrimary), Some(Command::Hmac)] {
            let mut tpm = Fake::with_root_secret([7; 32]);
            if let Some(command) = failing {
                tpm.fail(command, busy);
            }
            let result =
                RootKey::create(&mut tpm).and_then(|mut root| root.identity_key(&digest()));
            assert_eq!(result.is_err(), failing.is_some());
            assert_eq!(tpm.loaded(), 0, "{failing:?}");
        }
    }

    #[test]
    fn the_root_is_flushed_when_there_is_a_panic() {
        let mut tpm = Fake::with_root_secret([7; 32]);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _root = RootKey::create(&mut tpm).unwrap();
            panic!("on purpose");
        }))
        .unwrap_err();
        assert_eq!(tpm.loaded(), 0);
    }

    #[test]
    fn a_flush_that_fails_is_told() {
        let mut tpm = Fake::with_root_secret([7; 32]);
        tpm.fail(Command::FlushContext, ResponseCode::new(0x101).unwrap());
        let root = RootKey::create(&mut tpm).unwrap();
        root.flush().unwrap_err();
        assert_eq!(tpm.commands(), 2, "no second try from drop");
    }
}
