// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel patch series, in virtual machines: `make kernel-test` builds the
//! kernels, and names each of them in `$TDK_TEST_KERNEL`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod debug;
mod errors;
mod kexec;
mod parity;
mod root;
mod suites;
mod uses;

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use tdk_simulator::guest::{GuestBuilder, Kernel, System, TpmModel};
use tdk_tests::guest::Machine;

/// What scripts/build.sh in kernel-patch/ has made: the image, its configuration,
/// and the programs of its selftest.
fn built() -> PathBuf {
    let directory = env::var_os("TDK_TEST_KERNEL");
    directory
        .expect("TDK_TEST_KERNEL is not set: run make kernel-test")
        .into()
}

/// A guest with the kernel under test.
fn guest<'a>() -> GuestBuilder<'a> {
    let machine = Machine {
        kernel: Kernel::At(built()),
        system: System::Initramfs,
        tpm: TpmModel::Tis,
    };
    machine
        .guest()
        // A busy host stops the machine for longer than RCU thinks possible.
        .kernel_arguments("rcupdate.rcu_cpu_stall_suppress=1")
        .time_limit(Duration::from_mins(20))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
