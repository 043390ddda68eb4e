// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How to talk to a TPM, and what it is known by.

use std::fmt;
use std::sync::Arc;

use super::{Name, OwnerAuth, TpmError};

/// Whether the conversation with the TPM is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// What is secret is encrypted, and answers are known to come from whoever
    /// has the storage key.
    #[default]
    Encrypted,
    /// Nothing is.
    Plain,
}

/// How to talk to a TPM, and what it is known by.
#[derive(Clone, Default)]
pub struct Trust {
    /// Whether the conversation is protected.
    pub bus: Bus,
    /// The Name of its root key, where that is known.
    pub root: Option<Name>,
    /// The Name of its storage key, where that is known.
    pub srk: Option<Name>,
    /// What its owner hierarchy asks for.
    pub owner_auth: Option<Arc<OwnerAuth>>,
}

/// Without the password.
impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("bus", &self.bus)
            .field("root", &self.root)
            .field("srk", &self.srk)
            .finish_non_exhaustive()
    }
}

impl Trust {
    pub(super) fn check_root(&self, found: Name) -> Result<(), TpmError> {
        match self.root {
            Some(enrolled) if enrolled != found => Err(TpmError::OtherRoot { enrolled, found }),
            _ => Ok(()),
        }
    }

    pub(super) fn check_srk(&self, found: Name) -> Result<(), TpmError> {
        match self.srk {
            Some(enrolled) if enrolled != found => {
                Err(TpmError::OtherStorageKey { enrolled, found })
            }
            _ => Ok(()),
        }
    }
}
