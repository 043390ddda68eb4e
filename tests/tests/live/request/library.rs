// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs that ask by `tdk-client`.

use std::io::Write;
use std::process::{Command, Stdio};

use linux_keyutils::{KeyRing, KeyRingIdentifier};
use tdk_client::{Error, Identity, What};
use tdk_tests::live::Rule;
use tdk_tests::oracle::{self, Request};
use tdk_tests::programs;
use tdk_tests::programs::{stderr, stdout};

use super::Bench;

#[test]
fn the_librarys_example() {
    let bench = Bench::new();
    let mac = programs::mac();
    let key_id = bench.rule.key_id("x");
    let mut child = Command::new(&mac)
        .arg(&key_id)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"message").unwrap();
    let printed = stdout(&child.wait_with_output().unwrap());
    let path = mac.canonicalize().unwrap();
    let request = Request::user(&key_id, "32 path", 0, path.as_os_str().as_encoded_bytes());
    let key = format!(
        "hexkey:{}",
        hex::encode(oracle::key(&bench.tpm.tcti(), &request))
    );
    let by_hand = programs::run(
        "sh",
        &[
            "-c",
            &format!("printf message | openssl dgst -sha256 -mac HMAC -macopt {key}"),
        ],
    );
    assert_eq!(stdout(&by_hand).rsplit(' ').next(), Some(printed.as_str()));

    let output = Command::new(&mac).output().unwrap();
    assert_eq!(stderr(&output, 2), "usage: mac KEY-ID\n");
}

/// This test program asks by itself.
fn ask(rule: &Rule, name: &str) -> Result<tdk_client::Key, Error> {
    tdk_client::Request::new(rule.key_id(name), What::Bytes(32), Identity::Path).ask()
}

#[test]
fn a_process_that_asks_by_itself() {
    let bench = Bench::new();
    let program = std::env::current_exe().unwrap().canonicalize().unwrap();
    let program = program.as_os_str().as_encoded_bytes();
    let expected = |name: &str| {
        let request = Request::user(&bench.rule.key_id(name), "32 path", 0, program);
        oracle::key(&bench.tpm.tcti(), &request)
    };
    let key = ask(&bench.rule, "x").unwrap();
    assert_eq!(key.as_bytes(), expected("x"));
    assert_eq!(format!("{key:?}"), "Key(32 bytes)");

    // The asking thread's own keyring does not matter, and stays as it is.
    let description = bench.rule.description("x").into_string().unwrap();
    let keyring = |which| KeyRing::from_special_id(which, true).unwrap();
    let thread = keyring(KeyRingIdentifier::Thread);
    let session = || KeyRing::from_special_id(KeyRingIdentifier::Session, false);
    let before = session();
    let planted = thread.add_key(&description, b"planted").unwrap();
    assert_eq!(ask(&bench.rule, "x").unwrap().as_bytes(), expected("x"));
    assert_eq!(thread.search(&description).unwrap(), planted);
    assert_eq!(session(), before);

    // The process's would answer.
    let process = keyring(KeyRingIdentifier::Process);
    let planted = process.add_key(&description, b"planted").unwrap();
    assert!(matches!(ask(&bench.rule, "x"), Err(Error::Planted)));
    assert_eq!(ask(&bench.rule, "y").unwrap().as_bytes(), expected("y"));
    process.unlink_key(planted).unwrap();
    assert_eq!(ask(&bench.rule, "x").unwrap().as_bytes(), expected("x"));
    bench.rule.assert_nothing_left();
}

#[test]
fn many_threads_ask_at_once() {
    let bench = Bench::new();
    let keys: Vec<_> = std::thread::scope(|scope| {
        let ask = |_| scope.spawn(|| ask(&bench.rule, "x").unwrap());
        let threads: Vec<_> = (0..8).map(ask).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let first = keys[0].as_bytes();
    assert!(keys.iter().all(|key| key.as_bytes() == first));
    bench.rule.assert_nothing_left();
}
