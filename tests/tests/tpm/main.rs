// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The library against software TPMs. Nothing here needs root.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod conversation;
mod device;
mod diagnosis;
mod faults;
mod keys;
mod owner_auth;
