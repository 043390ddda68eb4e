// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is measured in the virtual machine.

use std::fmt::Display;
use std::time::Duration;

use super::{EXECUTABLES, SECTION, SIZES};
use crate::timing::{self, Contender};
use crate::{Result, upcall};

/// Key ids that begin so are served by the callout that does nothing, and by ours.
pub(crate) const NOOP: &str = "noop";
pub(crate) const PLAIN: &str = "plain";
pub(crate) const ENCRYPTED: &str = "encrypted";

/// An executable of so many KiB.
pub(crate) fn executable(kib: u64) -> String {
    format!("/mnt/keyctl-{kib}")
}

/// Who answers, and whose digest is asked for.
pub(crate) const WAYS: [&str; 4] = [
    "callout, csum",
    "callout, verity",
    "kernel, csum",
    "kernel, verity",
];

/// Prints the rows, each in a line.
pub(crate) fn measure(calls: usize, processes: usize) -> Result<()> {
    tdk_sys::join_new_session()?;
    let contenders = vec![
        Contender::new(upcall::NOOP, requests(NOOP, by_callout)),
        Contender::new(upcall::PLAIN, requests(PLAIN, by_callout)),
        Contender::new(upcall::ENCRYPTED, requests(ENCRYPTED, by_callout)),
        Contender::new(upcall::IN_KERNEL, requests(PLAIN, by_kernel)),
    ];
    let mut rows = timing::take_turns(SECTION, calls, contenders)?;
    let mut contenders = Vec::new();
    for kib in SIZES {
        for name in WAYS {
            let (who, identity) = name.split_once(", ").ok_or("a name has two parts")?;
            let (key_type, prefix) = match who {
                "kernel" => ("derived", ""),
                _ => ("user", "tpm2:derived:"),
            };
            let path = executable(kib);
            let info = format!("32 {identity}");
            let ask = move |key_id: &str| {
                let description = format!("{prefix}{key_id}");
                let (took, serial) =
                    upcall::request2_by(path.as_ref(), [key_type, &description, &info])?;
                upcall::forget(serial)?;
                Ok(took)
            };
            let prefix = format!("{ENCRYPTED}-{kib}-{identity}");
            contenders.push(Contender::new(name, requests(prefix, ask)).at(kib));
        }
    }
    rows.extend(timing::take_turns(EXECUTABLES, processes, contenders)?);
    for row in rows {
        println!("{}", serde_json::to_string(&row)?);
    }
    Ok(())
}

/// Asks for a key that nobody has asked for.
fn requests(
    prefix: impl Display,
    ask: impl Fn(&str) -> Result<Duration>,
) -> impl FnMut() -> Result<Duration> {
    let mut number = 0;
    move || {
        number += 1;
        ask(&format!("{prefix}-{number}"))
    }
}

fn by_callout(key_id: &str) -> Result<Duration> {
    upcall::request_of(c"user", &format!("tpm2:derived:{key_id}"))
}

fn by_kernel(key_id: &str) -> Result<Duration> {
    upcall::request_of(c"derived", key_id)
}
