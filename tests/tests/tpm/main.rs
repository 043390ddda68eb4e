// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The library against software TPMs. Nothing here needs root.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod conversation;
mod device;
mod diagnosis;
mod faults;
mod keys;
mod matrix;
mod owner_auth;

use std::time::Duration;

use tpm_derived_keys::identity::{Identity, IdentityDigest, Realm, Scope, Subject};
use tpm_derived_keys::tpm::Patience;

/// Enough for a busy machine.
const PATIENCE: Patience = Patience {
    turn: Duration::from_mins(2),
    hold: Duration::from_mins(1),
};

/// What an identity key is asked for.
fn digest() -> IdentityDigest {
    let identity = Identity::new(Subject::Id, Scope::Uid, 0, Realm::default()).unwrap();
    identity.digest()
}
