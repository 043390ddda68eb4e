// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Has a TPM in a container until its standard input ends: for tests of what is left
//! of a test that is killed, and of one where no Docker is.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use tdk_containers::swtpm;

fn main() {
    let tpm = swtpm().start().unwrap();
    println!("{}", tpm.tcti());
    std::io::stdin().lines().for_each(drop);
}
