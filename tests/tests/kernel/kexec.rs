// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Another kernel, started by kexec: the TPM is not reset, and the PCR stays extended.

use tdk_simulator::guest::GuestError;
use tdk_tests::golden;
use tdk_tests::oracle::{self, Request};

use crate::root::{KERNEL, PCR};
use crate::{built, guest};

#[test]
fn no_keys_in_the_next_kernel() {
    let expected = {
        let tpm = golden::tpm();
        let request = Request::user("test", "32 id", 0, "");
        hex::encode(&oracle::derive_kernel_root(&tpm.tcti(), PCR, &[request])[0])
    };
    let mut said = String::new();
    let outcome = guest()
        .state(golden::state())
        .kernel_arguments(KERNEL)
        .file(built().join("derived_asker"), "/derived_asker", 0o755)
        .file(built().join("vmlinuz"), "/vmlinuz", 0o644)
        .file("/usr/bin/perl", "/usr/bin/perl", 0o755)
        .script(include_str!("kexec.sh"))
        .watch(|_, line| {
            said += &line.text();
            said += "\n";
        })
        .run();
    // The next kernel knows nothing of the script, and switches the machine off.
    let Err(GuestError::Died { console, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    let first = format!("first kernel: {expected}");
    assert!(said.lines().any(|line| line == first), "{said}{console}");
    let (_, next) = console.rsplit_once("Linux version").unwrap();
    assert_eq!(
        next.matches("next kernel: EACCES").count(),
        2,
        "{said}{console}"
    );
    for line in [
        "derived: PCR 13 is not zero: it was extended before this kernel was booted",
        "derived: the kernel's root can't be used (-13): there are no derived keys",
    ] {
        assert!(next.contains(line), "{line}: {said}{console}");
    }
}
