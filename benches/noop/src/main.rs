// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A callout that looks at nothing, derives nothing and gives every asker the same
//! byte. What a request takes with it is the kernel's, request-key's and a process's
//! own: the floor that callouts are measured from.
//!
//! `tdk-noop --config FILE %k ...`, as the real one is called.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use linux_keyutils::{Key, KeySerialId};

fn main() -> ExitCode {
    let key = std::env::args().nth(3).and_then(|key| key.parse().ok());
    let Some(key) = key.map(KeySerialId) else {
        return ExitCode::from(2);
    };
    let done = Key::from_id(key)
        .assume_authority()
        .and_then(|()| Key::from_id(key).instantiate(b"x", KeySerialId(0)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
