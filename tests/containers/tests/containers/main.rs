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

/// The port for TPM commands, of a TCTI string.
fn port(tcti: &str) -> u16 {
    let port = tcti.strip_prefix("swtpm:host=127.0.0.1,port=").unwrap();
    port.parse().unwrap()
}

/// The name of the container of the TPM that is there.
fn name(tcti: &str) -> String {
    format!("tdk-swtpm-{}", port(tcti))
}

fn is_there(name: &str) -> bool {
    Docker::get().inspect(name).unwrap().is_some()
}
