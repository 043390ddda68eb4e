// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Containers with software TPMs: where they listen, how they begin and end, and that
//! nothing is left of them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod aborted;
mod ends;
mod ports;
mod ready;

use tdk_containers::Docker;
use tdk_simulator::Swtpm;

/// The port for TPM commands.
fn port(tpm: &Swtpm) -> u16 {
    let tcti = tpm.tcti();
    let port = tcti.strip_prefix("swtpm:host=127.0.0.1,port=").unwrap();
    port.parse().unwrap()
}

/// The name of a TPM's container.
fn name(tpm: &Swtpm) -> String {
    format!("tdk-swtpm-{}", port(tpm))
}

fn is_there(name: &str) -> bool {
    Docker::get().inspect(name).unwrap().is_some()
}
