// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where a TPM's state comes from, and saving and restoring it.

use std::path::Path;

use crate::common::{files, primary_name, start};
use tdk_simulator::{SimError, State, StateSource, Swtpm};

fn start_on(state: StateSource) -> Swtpm {
    Swtpm::builder().state(state).start().expect("a TPM")
}

#[test]
fn a_state_in_place_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let in_place = || start_on(StateSource::InPlace(dir.path().to_owned()));

    let tpm = in_place();
    assert_eq!(tpm.state_dir(), dir.path());
    let name = primary_name(&tpm, b"");
    drop(tpm);
    assert_eq!(files(dir.path()), [".lock", "tpm2-00.permall"]);

    let tpm = in_place();
    assert_eq!(primary_name(&tpm, b""), name);
    tpm.stop().expect("stopped");
    assert_eq!(files(dir.path()), [".lock", "tpm2-00.permall"]);
}

#[test]
fn a_relative_path_is_made_absolute() {
    // Relative to the crate's directory, where tests run.
    let dir = tempfile::tempdir_in(".").expect("a directory");
    let relative = Path::new(dir.path().file_name().expect("a name")).to_owned();
    let tpm = start_on(StateSource::InPlace(relative));
    assert!(tpm.state_dir().is_absolute());
    primary_name(&tpm, b"");
}

#[test]
fn one_state_is_for_one_tpm() {
    let tpm = start();
    let dir = tpm.state_dir().to_owned();
    let error = Swtpm::builder()
        .state(StateSource::InPlace(dir.clone()))
        .start()
        .expect_err("in use");
    assert!(matches!(error, SimError::StateInUse { .. }), "{error}");
    let other = start();
    let error = other.save(&dir).expect_err("in use");
    assert!(matches!(error, SimError::StateInUse { .. }), "{error}");
    // The first one has not noticed.
    primary_name(&tpm, b"");
    assert!(dir.join("sock").exists());
}

#[test]
fn a_running_tpm_is_saved_with_what_it_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let tpm = start();
    tpm.set_owner_auth(b"secret").expect("set");
    let saved = tpm.save(dir.path().join("saved")).expect("saved");
    assert_eq!(files(saved.dir()), ["tpm2-00.permall"]);

    // Both run at the same time, and a change in the one is none in the other.
    let twin = start_on(StateSource::CopyOf(saved.dir().to_owned()));
    assert_ne!(twin.state_dir(), saved.dir());
    assert_eq!(
        primary_name(&twin, b"secret"),
        primary_name(&tpm, b"secret")
    );
    twin.clear_owner().expect("cleared");
    let again = start_on(StateSource::CopyOf(saved.dir().to_owned()));
    assert_eq!(
        primary_name(&again, b"secret"),
        primary_name(&tpm, b"secret")
    );
}

#[test]
fn a_stopped_tpm_goes_on() {
    let tpm = start();
    let (name, tcti) = (primary_name(&tpm, b""), tpm.tcti());
    let state = tpm.stop().expect("stopped");
    let tpm = start_on(StateSource::Resume(state));
    assert_eq!(tpm.tcti(), tcti);
    assert_eq!(primary_name(&tpm, b""), name);
    let dir = tpm.state_dir().to_owned();
    drop(tpm);
    assert!(!dir.exists());
}

#[test]
fn an_earlier_state_is_restored() {
    let dir = tempfile::tempdir().expect("a directory");
    let tpm = start();
    let name = primary_name(&tpm, b"");
    let saved = tpm.save(dir.path()).expect("saved");
    tpm.clear_owner().expect("cleared");
    assert_ne!(primary_name(&tpm, b""), name);

    let state = tpm.stop().expect("stopped");
    state.restore(&saved).expect("restored");
    let tpm = start_on(StateSource::Resume(state));
    assert_eq!(primary_name(&tpm, b""), name);

    let opened = State::open(dir.path()).expect("a state");
    assert_eq!(opened.dir(), saved.dir());
}

#[test]
fn no_state_to_copy() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = Swtpm::builder()
        .state(StateSource::CopyOf(dir.path().to_owned()))
        .start()
        .expect_err("nothing there");
    assert!(matches!(error, SimError::NoState { .. }), "{error}");
}
