// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Object slots of the TPM. Who may free one is decided under a lock that only
//! root can take.

use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tdk_simulator::Swtpm;
use tdk_tests::backend::Backend;
use tdk_tests::middle::{Action, Middle};
use tdk_tests::{assert_no_handles, over_both_backends, programs};
use tpm_derived_keys::identity::{Identity, Realm, Scope, Subject};
use tpm_derived_keys::tpm::{Bus, OwnerAuth, Patience, RootKey, Tpm, Trust};

over_both_backends!(
    a_slot_that_a_dead_process_left_taken_is_freed_by_the_next,
    whatever_a_killed_process_has_loaded_is_freed_by_the_next,
    slots_are_freed_when_there_are_none_left,
    the_locks_are_roots,
);

fn open(backend: Backend, tpm: &Swtpm) -> Box<dyn Tpm> {
    backend.open(&tpm.tcti(), &Patience::default()).unwrap()
}

fn derive(backend: Backend, tpm: &Swtpm) {
    let mut connected = open(backend, tpm);
    let mut root = RootKey::create(&mut connected).unwrap();
    let identity = Identity::new(Subject::Id, Scope::Uid, 0, Realm::default()).unwrap();
    root.identity_key(&identity.digest()).unwrap();
    root.flush().unwrap();
}

fn a_slot_that_a_dead_process_left_taken_is_freed_by_the_next(backend: Backend) {
    let tpm = Swtpm::builder().start().unwrap();
    for dead in Backend::ALL {
        // For all that can be seen from outside, this process was killed.
        let mut connected = open(dead, &tpm);
        std::mem::forget(RootKey::create(&mut connected).unwrap());
        drop(connected);
        assert_eq!(tpm.transient_handles().unwrap().len(), 1);
        derive(backend, &tpm);
        assert_no_handles(&tpm);
    }
}

/// How many commands and answers were recorded.
fn frames(mut recorded: &[u8]) -> usize {
    let mut count = 0;
    while let Some(size) = recorded.get(2..6) {
        let size = u32::from_be_bytes(size.try_into().unwrap());
        recorded = &recorded[usize::try_from(size).unwrap()..];
        count += 1;
    }
    count
}

/// Whichever command of its it was that it did not live to see the answer of.
fn whatever_a_killed_process_has_loaded_is_freed_by_the_next(backend: Backend) {
    const PASSWORD: &[u8] = b"correct horse battery staple";
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), PASSWORD).unwrap();
    let config = tempfile::NamedTempFile::new().unwrap();
    let bus = if backend.bus() == Bus::Plain {
        "plain"
    } else {
        "encrypted"
    };
    std::fs::write(config.path(), format!("bus = \"{bus}\"\n")).unwrap();
    let auth = OwnerAuth::new(PASSWORD.to_vec().into(), "this test").unwrap();
    let trust = Trust {
        bus: backend.bus(),
        owner_auth: Some(Arc::new(auth)),
        ..Trust::default()
    };
    // The commands are as many as there are, with and without a password.
    for (has_password, trust) in [
        (
            false,
            Trust {
                bus: backend.bus(),
                ..Trust::default()
            },
        ),
        (true, trust),
    ] {
        for place in 0.. {
            let tpm = Swtpm::builder().start().unwrap();
            if has_password {
                tpm.set_owner_auth(PASSWORD).unwrap();
            }
            let middle = Middle::before(&tpm, move |_, before| {
                if before == place {
                    Action::SilenceAfter
                } else {
                    Action::Pass
                }
            });
            let mut tdk = programs::tdk();
            tdk.args([
                "root",
                "--tcti",
                &middle.tcti(),
                "--backend",
                backend.name(),
            ]);
            tdk.arg("--config").arg(config.path());
            if has_password {
                tdk.arg("--owner-auth-file").arg(password.path());
            }
            let mut tdk = tdk
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let is_done = loop {
                // A command and its answer each.
                if frames(&middle.recorded()) == 2 * (place + 1) {
                    break false;
                }
                if tdk.try_wait().unwrap().is_some() {
                    break true;
                }
                thread::sleep(Duration::from_millis(5));
            };
            if is_done {
                assert!(place >= 2, "{has_password}");
                break;
            }
            tdk.kill().unwrap();
            tdk.wait().unwrap();
            let mut connected = backend
                .open_as(&middle.tcti(), &Patience::default(), &trust)
                .unwrap();
            RootKey::create(&mut connected).unwrap().flush().unwrap();
            drop(connected);
            assert_no_handles(&tpm);
        }
    }
}

fn slots_are_freed_when_there_are_none_left(backend: Backend) {
    let tpm = Swtpm::builder().start().unwrap();
    // From here on it is known what the root key is called.
    derive(backend, &tpm);
    // TPM2_CreatePrimary of the root key, by somebody who keeps no record.
    let command = [
        "8002 00000000 00000131 40000001 00000009 40000009 0000 00 0000",
        "0004 0000 0000",
        "0023 0008 000b 00040472 0000 0005 000b",
        "0013 74706d2d646572697665642d6b657973207631",
        "0000 00000000",
    ];
    let command = command.concat().replace(' ', "");
    let mut command = hex::decode(command).unwrap();
    let length = u32::try_from(command.len()).unwrap();
    command[2..6].copy_from_slice(&length.to_be_bytes());
    for _ in 0..3 {
        let response = tpm.send(&command).unwrap();
        assert_eq!(response[6..10], [0; 4], "{response:02x?}");
    }
    assert_eq!(tpm.transient_handles().unwrap().len(), 3);
    derive(backend, &tpm);
    assert_no_handles(&tpm);
}

fn the_locks_are_roots(backend: Backend) {
    let tpm = Swtpm::builder().start().unwrap();
    drop(open(backend, &tpm));
    let directory = std::fs::metadata("/run/tdk").unwrap();
    assert_eq!((directory.uid(), directory.mode() & 0o7777), (0, 0o700));
    for entry in std::fs::read_dir("/run/tdk").unwrap().flatten() {
        if let Ok(lock) = entry.metadata() {
            assert_eq!((lock.uid(), lock.mode() & 0o7777), (0, 0o600));
        }
    }
}
