// SPDX-License-Identifier: Apache-2.0 OR MIT
//! May they have it?
//!
//! So far there is one policy, the shipped one: a key that is bound to its
//! asker's uid may be had by its asker; `scope=any` is refused.

use std::fmt;

use crate::derivation::Unlocked;
use crate::identity::{Identified, Identity, Scope};
use crate::key_info::KeyInfo;
use crate::tpm::{RootKey, Tpm, TpmError};

/// What decides.
#[derive(Clone, Debug)]
pub struct Policy(());

impl Policy {
    /// The policy that is shipped, so far the only one.
    pub fn shipped() -> Self {
        Self(())
    }

    /// Next stage: decides about a request and its asker.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that says why not. The asker gets EACCES.
    pub fn decide(&self, identified: Identified) -> Result<Decision, Refusal> {
        match identified.identity.scope() {
            Scope::Uid => Ok(Decision::allowed(identified)),
            Scope::Any => Err(Refusal::ScopeAny),
        }
    }
}

/// A request that has been allowed. The next stage is [`Decision::unlock`].
#[derive(Clone, Debug)]
pub struct Decision {
    identity: Identity,
    key_info: KeyInfo,
}

impl Decision {
    pub(crate) fn allowed(identified: Identified) -> Self {
        Self {
            key_info: KeyInfo::from(&identified.request),
            identity: identified.identity,
        }
    }

    /// Next stage: has the TPM make the identity key. This is the one step that
    /// needs the TPM; what follows is computed.
    ///
    /// # Errors
    ///
    /// The [`TpmError`] of the command that failed.
    pub fn unlock<T: Tpm>(self, root: &mut RootKey<'_, T>) -> Result<Unlocked, TpmError> {
        let identity_key = root.identity_key(&self.identity.digest())?;
        Ok(Unlocked::new(identity_key, self.key_info))
    }
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// `scope=any` has to be allowed by a policy, and there is none.
    ScopeAny,
}

impl Refusal {
    /// What the asker can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::ScopeAny => "ask without scope=any, for a key bound to your uid",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ScopeAny => write!(f, "scope=any is refused: no policy allows it"),
        }
    }
}

impl std::error::Error for Refusal {}
