// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program that `/sbin/request-key` runs when somebody asks for a derived
//! key: it finds out who asks, decides, has the TPM derive, and instantiates
//! the key, or rejects it with an errno that tells why.
//!
//! It is a library with a one-line program so that its parts can be tested.
//! What happens, in order: `docs/data-flow.md`.
#![forbid(unsafe_code)]

mod accounts;
mod asker;
mod cgroup;
mod failure;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod invocation;
mod keyring;
mod log;
mod observed;
mod packages;
mod proc_keys;
mod program;
mod record;
mod sandbox;
mod serve;
mod watch;

pub use failure::{Errno, Failure};
pub use observed::Observed;
pub use program::{Call, main_with};
pub use record::{Field, IDENTIFIER, Kind};
pub use serve::serve;
