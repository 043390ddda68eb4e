// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Object slots of the TPM. Who may free one is decided under a lock that only
//! root can take.

use std::os::unix::fs::MetadataExt;

use tdk_simulator::Swtpm;
use tdk_tests::assert_no_handles;
use tpm_derived_keys::identity::{Identity, Realm, Scope, Subject};
use tpm_derived_keys::tpm::{Direct, Patience, RootKey};

#[test]
fn slots_that_dead_processes_left_taken_are_freed() {
    let tpm = Swtpm::builder().start().unwrap();
    // Three roots left behind fill the TPM.
    for _ in 0..3 {
        let mut direct = Direct::open(&tpm.tcti().parse().unwrap(), &Patience::default()).unwrap();
        std::mem::forget(RootKey::create(&mut direct).unwrap());
    }
    assert_eq!(tpm.transient_handles().unwrap().len(), 3);
    let mut direct = Direct::open(&tpm.tcti().parse().unwrap(), &Patience::default()).unwrap();
    let mut root = RootKey::create(&mut direct).unwrap();
    let identity = Identity::new(Subject::Id, Scope::Uid, 0, Realm::default()).unwrap();
    root.identity_key(&identity.digest()).unwrap();
    root.flush().unwrap();
    drop(direct);
    assert_no_handles(&tpm);
}

#[test]
fn the_locks_are_roots() {
    let tpm = Swtpm::builder().start().unwrap();
    drop(Direct::open(&tpm.tcti().parse().unwrap(), &Patience::default()).unwrap());
    let directory = std::fs::metadata("/run/tdk").unwrap();
    assert_eq!((directory.uid(), directory.mode() & 0o7777), (0, 0o700));
    for entry in std::fs::read_dir("/run/tdk").unwrap().flatten() {
        if let Ok(lock) = entry.metadata() {
            assert_eq!((lock.uid(), lock.mode() & 0o7777), (0, 0o600));
        }
    }
}
