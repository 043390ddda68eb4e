// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk derive`: which keys it prints.

mod key_ids;
mod printed;
mod wrongly;

use std::process::Output;

use tdk_simulator::Swtpm;
use tdk_tests::backend::Backend;
use tdk_tests::middle::{Action, Middle};
use tdk_tests::programs::{run_tdk, stderr, stdout, tdk};
use tdk_tests::{golden, oracle};

/// `tdk derive` for /usr/bin/keyctl and uid 1000, with more arguments.
pub(crate) fn derive(tcti: &str, more: &[&str]) -> Output {
    let who = [
        "derive",
        "--tcti",
        tcti,
        "--identity",
        "path",
        "--value",
        "/usr/bin/keyctl",
        "--uid",
        "1000",
    ];
    run_tdk(&[&who, more].concat())
}

pub(crate) fn oracles(tcti: &str, key_id: &str, info: &str) -> Vec<u8> {
    let request = oracle::Request::user(key_id, info, 1000, "/usr/bin/keyctl");
    oracle::key(tcti, &request)
}

#[test]
fn the_key_that_the_asker_gets() {
    let tpm = Swtpm::builder().start().unwrap();
    let tcti = tpm.tcti();
    let output = derive(&tcti, &["--what", "32", "--key-id", "test"]);
    assert!(output.stderr.is_empty());
    assert_eq!(
        stdout(&output),
        hex::encode(oracles(&tcti, "test", "32 path"))
    );

    let output = derive(&tcti, &["--what=32", "--key-id=test", "--gen=7"]);
    assert_eq!(
        stdout(&output),
        hex::encode(oracles(&tcti, "test", "32 path gen=7"))
    );

    let mut logon = oracle::Request::user("test", "32 path", 1000, "/usr/bin/keyctl");
    logon.key_type = "logon".into();
    let output = derive(
        &tcti,
        &["--what", "32", "--key-id", "test", "--type", "logon"],
    );
    assert_eq!(stdout(&output), hex::encode(oracle::key(&tcti, &logon)));
}

#[test]
fn every_identity() {
    let tpm = golden::tpm();
    for entry in golden::entries() {
        let request = &entry.request;
        let info = std::str::from_utf8(&request.info).unwrap();
        let words: Vec<&str> = info.split_ascii_whitespace().collect();
        let value = match words[1] {
            "csum" => hex::encode(&request.value).into_bytes(),
            "verity" if request.value[1] == 1 => {
                format!("sha256:{}", hex::encode(&request.value[2..])).into()
            }
            "verity" => format!("sha512:{}", hex::encode(&request.value[2..])).into(),
            _ => request.value.clone(),
        };
        let mut command = tdk();
        command.args(["derive", "--tcti", &tpm.tcti(), "--type", &request.key_type]);
        command.args(["--what", words[0], "--identity", words[1]]);
        command
            .arg("--key-id")
            .arg(text(&request.description[13..]));
        command.arg("--realm").arg(text(&request.realm));
        if !value.is_empty() {
            command.arg("--value").arg(text(&value));
        }
        if info.contains("scope=any") {
            command.args(["--scope", "any"]);
        } else {
            command.args(["--uid", &request.uid.to_string()]);
        }
        if let Some(generation) = words.iter().find_map(|word| word.strip_prefix("gen=")) {
            command.args(["--gen", generation]);
        }
        let output = command.args(["--format", "hex"]).output().unwrap();
        assert_eq!(stdout(&output), hex::encode(&entry.payload), "{entry:?}");
    }
}

fn text(bytes: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

#[test]
fn several_keys_cost_one_operation() {
    let tpm = Swtpm::builder().start().unwrap();
    let middle = Middle::before(&tpm, |_, _| Action::Pass);
    let output = derive(
        &middle.tcti(),
        &[
            "--what", "32", "--key-id", "a", "--key-id", "-b", "--key-id", "a",
        ],
    );
    let lines: Vec<String> = ["a", "-b", "a"]
        .iter()
        .map(|id| hex::encode(oracles(&tpm.tcti(), id, "32 path")))
        .collect();
    assert_eq!(stdout(&output), lines.join("\n"));
    assert_eq!(middle.seen(), Backend::Direct.commands());
}

#[test]
fn values_may_begin_with_a_dash() {
    let tpm = Swtpm::builder().start().unwrap();
    let tcti = tpm.tcti();
    let output = derive(&tcti, &["--what", "32", "--key-id", "--uid"]);
    assert_eq!(
        stdout(&output),
        hex::encode(oracles(&tcti, "--uid", "32 path"))
    );
    let output = derive(&tcti, &["--what", "-32", "--key-id", "x"]);
    assert!(stderr(&output, 2).contains("'-32' is neither a length nor a kind of key"));
}

#[test]
fn a_path_with_links_is_no_askers() {
    let tpm = Swtpm::builder().start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/usr/bin/keyctl", &link).unwrap();
    let output = tdk()
        .args([
            "derive",
            "--tcti",
            &tpm.tcti(),
            "--what",
            "32",
            "--uid",
            "0",
        ])
        .args(["--identity", "path", "--key-id", "x", "--value"])
        .arg(&link)
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("is /usr/bin/keyctl here"), "{text}");
}
