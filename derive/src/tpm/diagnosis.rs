// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Putting a root key to the test, for whoever looks after a TPM.

use std::fmt;

use super::connection::Connection;
use super::{Command, RootKey, Session, TpmError};
use crate::derivation::IdentityKey;
use crate::identity::IdentityDigest;

/// What a root key makes of a digest that is nobody's: to be compared with
/// another, and for nothing else. Wiped when dropped.
pub struct Probe(IdentityKey);

impl Probe {
    /// Whether both are the same, in a time that does not depend on it.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }
}

/// Says nothing about the bytes.
impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe(..)")
    }
}

impl<C: Connection> RootKey<'_, Session<C>> {
    /// TPM2_HMAC of a digest that is nobody's.
    ///
    /// `None` if the TPM does not implement the command.
    ///
    /// # Errors
    ///
    /// A [`TpmError`] of TPM2_HMAC.
    pub fn probe_hmac(&mut self) -> Result<Option<Probe>, TpmError> {
        let root = self.loaded.as_ref().expect("loaded until flushed");
        let hmac = self.tpm.ask(Command::Hmac, |connection, until| {
            connection.hmac(root, &IdentityDigest::of_nobody(), until)
        });
        implemented(hmac)
    }

    /// The same by TPM2_Sign, which has to give the same bytes.
    ///
    /// # Errors
    ///
    /// A [`TpmError`] of TPM2_Sign.
    pub fn probe_sign(&mut self) -> Result<Option<Probe>, TpmError> {
        let root = self.loaded.as_ref().expect("loaded until flushed");
        let signature = self.tpm.ask(Command::Sign, |connection, until| {
            connection.sign(root.object, &IdentityDigest::of_nobody(), until)
        });
        implemented(signature)
    }
}

fn implemented(result: Result<IdentityKey, TpmError>) -> Result<Option<Probe>, TpmError> {
    match result {
        Err(TpmError::Response { code, .. }) if code.is_unimplemented() => Ok(None),
        other => other.map(|key| Some(Probe(key))),
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_probe_shows_nothing() {
        let probe = |byte| Probe(IdentityKey::new(Zeroizing::new([byte; 32])));
        assert_eq!(format!("{:?}", probe(7)), "Probe(..)");
        assert!(probe(7).is_same(&probe(7)) && !probe(7).is_same(&probe(8)));
    }
}
