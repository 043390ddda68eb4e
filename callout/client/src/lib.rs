// SPDX-License-Identifier: Apache-2.0 OR MIT
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod error;
mod key;
mod request;
mod session;

pub use error::Error;
pub use key::Key;
pub use request::{Identity, KeyType, Request, What};
pub use session::Session;
