// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many requests, one after the other and at once.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use tdk_tests::assert_no_handles;
use tdk_tests::live::{Asker, Rule};
use tdk_tests::oracle::{self, Request};
use tdk_tests::{golden, random};

/// What a leak would show in: keys of root, files, handles in the TPM.
fn traces(rule: &Rule, tpm: &tdk_simulator::Swtpm) -> (usize, Vec<String>, Vec<u32>) {
    // Keys that are gone are collected a little later.
    thread::sleep(Duration::from_secs(1));
    let keys = fs::read("/proc/keys").unwrap();
    let keys = String::from_utf8_lossy(&keys);
    let ours = keys
        .lines()
        .filter(|line| line.contains(&rule.key_id("")))
        .count();
    // Where the callout runs, and where it keeps the one lock of this TPM. Other
    // tests' TPMs have locks of their own there.
    let mut files: Vec<String> = [Path::new("/"), rule.directory(), Path::new("/run/tdk")]
        .iter()
        .flat_map(|directory| fs::read_dir(directory).unwrap())
        .map(|entry| entry.unwrap().path().display().to_string())
        .filter(|path| !path.starts_with("/run/tdk/swtpm-"))
        .filter(|path| !path.starts_with("/run/tdk/device-"))
        .collect();
    files.sort();
    (ours, files, tpm.transient_handles().unwrap())
}

#[test]
fn three_hundred_in_a_row_leave_nothing_behind() {
    let tpm = golden::tpm();
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    let first = rule.ask("x", "32 path").unwrap();
    rule.assert_nothing_left();
    let before = traces(&rule, &tpm);
    let script = r#"
        n=0
        while [ $n -lt 300 ]; do
            key=$("$@" @s) && keyctl pipe $key && keyctl unlink $key @s || exit 1
            n=$((n + 1))
        done"#;
    let output = Asker::default()
        .command(script, &rule.description("x"), "32 path".as_ref())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, first.repeat(300));
    rule.assert_nothing_left();
    assert_eq!(traces(&rule, &tpm), before);
}

#[test]
fn fifty_at_once() {
    let tpm = golden::tpm();
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    let mut random = random::Random::new(50);
    let askers: Vec<_> = (0..50)
        .map(|n| {
            let uid = u32::try_from(random.below(5) * 1000).unwrap();
            let length = 1 + random.below(64);
            let name = format!("{}", random.below(10));
            (n, uid, name, format!("{length} path gen={n}"))
        })
        .collect();
    let script = r#"key=$("$@" @s) && exec keyctl pipe $key"#;
    let running: Vec<_> = askers
        .iter()
        .map(|(_, uid, name, info)| {
            let asker = Asker {
                uid: Some(*uid),
                ..Asker::default()
            };
            asker
                .command(script, &rule.description(name), info.as_ref())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let requests: Vec<_> = askers
        .iter()
        .map(|(_, uid, name, info)| {
            Request::user(&rule.key_id(name), info, *uid, "/usr/bin/keyctl")
        })
        .collect();
    let outputs: Vec<_> = running
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    let expected = oracle::derive(&tpm.tcti(), &requests);
    for ((output, expected), request) in outputs.iter().zip(expected).zip(&requests) {
        assert_eq!(output.stdout, expected.unwrap(), "{request:?} {output:?}");
    }
    rule.assert_nothing_left();
    assert_no_handles(&tpm);
}
