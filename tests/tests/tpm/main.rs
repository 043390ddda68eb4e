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
mod owner_policy;

use tdk_simulator::{Swtpm, SwtpmBuilder};

/// A software TPM, in a process. `tests/containers` runs the same tests against
/// others.
fn swtpm() -> SwtpmBuilder {
    tdk_tests::open_many_files();
    Swtpm::builder()
}
