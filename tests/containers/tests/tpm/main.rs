// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The library against software TPMs in containers: the tests are those of
//! `tests/tests/tpm`, which runs them against software TPMs in processes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/tpm/conversation.rs"]
mod conversation;
#[path = "../../../tests/tpm/diagnosis.rs"]
mod diagnosis;
#[path = "../../../tests/tpm/faults.rs"]
mod faults;
#[path = "../../../tests/tpm/keys.rs"]
mod keys;
#[path = "../../../tests/tpm/owner_auth.rs"]
mod owner_auth;

use tdk_containers::swtpm;
