// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keys that never change.

use tdk_tests::golden;
use tdk_tests::guest::{KEYCTL, Machine, NEW, OLD, Script};
use tdk_tests::oracle::Request;

/// What keyctl(1) can ask for in a guest: not another program's keys, nor those
/// of a service or of another realm.
fn can_be_asked(request: &Request) -> bool {
    let words: Vec<_> = request.info.split(|byte| *byte == b' ').collect();
    let is = |word: &str| words.contains(&word.as_bytes());
    request.key_type == "user"
        && request.realm.is_empty()
        && ((is("path") && request.value == KEYCTL.as_bytes()) || is("id"))
        // setpriv takes no larger ones.
        && i32::try_from(request.uid).is_ok()
}

fn golden_keys(machine: &Machine) {
    let mut script = Script::default();
    let mut expected = Vec::new();
    for entry in golden::entries() {
        if can_be_asked(&entry.request) {
            script.ask(KEYCTL, &entry.request);
            expected.push(Ok(entry.okm));
        }
    }
    assert!(expected.len() >= 20, "only {}", expected.len());
    let (keys, _) = script.run(machine.guest().state(golden::state()));
    assert_eq!(keys, expected);
}

#[test]
fn golden_keys_on_6_1() {
    golden_keys(&OLD);
}

#[test]
fn golden_keys_on_6_12() {
    golden_keys(&NEW);
}
