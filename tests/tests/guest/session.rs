// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The right key, every time.

use std::process::Command;

use tdk_simulator::{State, StateSource, Swtpm};
use tdk_tests::guest::{KEYCTL, Machine, NEW, NEW_CRB, OLD, Script};
use tdk_tests::live::Answer;
use tdk_tests::oracle::{self, Request};
use tdk_tests::{golden, programs};

const COPY: &str = "/usr/local/copy";

/// The sum of the keyctl(1) that guests get.
fn sum_of_keyctl() -> Vec<u8> {
    let output = Command::new("sh")
        .args(["-c", r#"sha256sum "$(command -v keyctl)""#])
        .output()
        .unwrap();
    hex::decode(&programs::stdout(&output)[..64]).unwrap()
}

/// What is asked, by which program, before and after the reboot.
fn requests() -> Vec<(&'static str, Request)> {
    let sum = sum_of_keyctl();
    vec![
        (KEYCTL, Request::user("a", "32 path", 0, KEYCTL)),
        (COPY, Request::user("a", "32 path", 0, COPY)),
        (KEYCTL, Request::user("a", "32 path", 1000, KEYCTL)),
        (KEYCTL, Request::user("b", "32 path gen=1", 0, KEYCTL)),
        (KEYCTL, Request::user("a", "32 csum", 0, &sum)),
        (COPY, Request::user("a", "32 csum", 0, &sum)),
    ]
}

/// What the other implementation says, on this machine and the same TPM.
fn expected(state: State, requests: &[(&str, Request)]) -> (Vec<Answer>, State) {
    let tpm = Swtpm::builder()
        .state(StateSource::Resume(state))
        .start()
        .unwrap();
    let requests: Vec<_> = requests
        .iter()
        .map(|(_, request)| request.clone())
        .collect();
    let keys = oracle::derive(&tpm.tcti(), &requests);
    (keys, tpm.stop().unwrap())
}

fn script(requests: &[(&str, Request)]) -> Script {
    let mut script = Script::default();
    script.lines(
        "mkdir -p /usr/local && cp /usr/bin/keyctl /usr/local/copy",
        0,
    );
    for (program, request) in requests {
        script.ask(program, request);
    }
    script
}

/// Request, print, unlink, request again.
const AGAIN: &str = r#"
ask sh -c '
    key=$("$@" @s) && keyctl pipe $key && keyctl unlink $key @s &&
    ! keyctl search @s user "$4" 2>/dev/null &&
    key=$("$@" @s) && keyctl pipe $key
' sh keyctl request2 user tpm2:derived:a "32 path""#;

fn the_published_session(machine: &Machine) {
    let requests = requests();
    let new = Swtpm::builder().start().unwrap().stop().unwrap();
    let (expected_first, state) = expected(new, &requests);

    let run = |script: &Script, state| {
        let guest = machine.guest().state(StateSource::Resume(state));
        let (keys, run) = script.run(guest);
        (keys, run.state.unwrap())
    };
    let (mut keys, state) = run(script(&requests).lines(AGAIN, 2), state);
    let twice = keys.pop().unwrap().unwrap();
    assert_eq!(keys, expected_first);
    let key = keys[0].clone().unwrap();
    assert_eq!(twice, [&key[..], &key[..]].concat());
    // All differ, but for the copy by its sum.
    assert_eq!(keys.pop(), Some(keys[4].clone()));
    let mut different = keys.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), keys.len());

    // A reboot: everything as before, here as there.
    let requests = &requests[..keys.len()];
    let (keys_again, state) = run(&script(requests), state);
    assert_eq!(keys_again, keys);
    assert_eq!(expected(state, requests).0, keys);

    // Another TPM: nothing as before.
    let other = script(&requests[..1]);
    let (others, run) = other.run(machine.guest().state(golden::state()));
    assert_ne!(others[0], keys[0]);
    assert_eq!(expected(run.state.unwrap(), &requests[..1]).0, others);
}

#[test]
fn the_published_session_on_6_1() {
    the_published_session(&OLD);
}

#[test]
fn the_published_session_on_6_12() {
    the_published_session(&NEW);
}

#[test]
fn the_published_session_with_a_firmware_tpm() {
    the_published_session(&NEW_CRB);
}
