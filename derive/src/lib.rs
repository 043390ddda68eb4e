// SPDX-License-Identifier: Apache-2.0 OR MIT
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod config;
mod derivation;
pub mod det_keygen;
pub mod enrolment;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod harden;
pub mod identity;
mod key_info;
pub mod policy;
pub mod request;
pub mod tpm;
pub mod trust;

pub use derivation::{IdentityKey, Okm, Payload, Unlocked};
pub use harden::no_core_dumps;
pub use key_info::{KeyInfo, Use};
