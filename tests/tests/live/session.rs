// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The right key, every time.

use std::fs;
use std::process::Command;

use tdk_simulator::Swtpm;
use tdk_tests::assert_no_handles;
use tdk_tests::live::{Asker, Rule};
use tdk_tests::oracle::{self, Request};
use tdk_tests::{golden, programs};

fn configured(tpm: &Swtpm) -> String {
    format!("tcti = \"{}\"\n", tpm.tcti())
}

fn sha256(path: &std::path::Path) -> Vec<u8> {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    hex::decode(&programs::stdout(&output)[..64]).unwrap()
}

#[test]
fn the_published_session() {
    let mut tpm = Swtpm::builder().start().unwrap();
    let rule = Rule::direct(&configured(&tpm));
    let expect = |name: &str, info: &str, uid: u32, value: &[u8]| {
        let request = Request::user(&rule.key_id(name), info, uid, value);
        oracle::key(&tpm.tcti(), &request)
    };

    // Request, print, unlink, request again.
    let script = r#"
        key=$("$@" @s) && keyctl pipe $key && keyctl unlink $key @s &&
        ! keyctl search @s user "$4" 2>/dev/null &&
        key=$("$@" @s) && keyctl pipe $key"#;
    let asker = Asker::default();
    let output = asker
        .command(script, &rule.description("a"), "32 path".as_ref())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let key = expect("a", "32 path", 0, b"/usr/bin/keyctl");
    assert_eq!(output.stdout, [&key[..], &key[..]].concat());

    // A program elsewhere, another user, another key id, another generation.
    let copy = Asker {
        program: rule.copy_of_keyctl("copy"),
        ..Asker::default()
    };
    let user = Asker {
        uid: Some(1000),
        ..Asker::default()
    };
    let ask = |asker: &Asker, name: &str, info: &str| asker.ask(rule.description(name), info);
    let elsewhere = copy.program.as_os_str().as_encoded_bytes();
    let keys = [
        key.clone(),
        ask(&copy, "a", "32 path").unwrap(),
        ask(&user, "a", "32 path").unwrap(),
        ask(&asker, "b", "32 path").unwrap(),
        ask(&asker, "a", "32 path gen=1").unwrap(),
        ask(&asker, "a", "64 path").unwrap(),
        ask(&asker, "a", "32 id").unwrap(),
    ];
    let expected = [
        key.clone(),
        expect("a", "32 path", 0, elsewhere),
        expect("a", "32 path", 1000, b"/usr/bin/keyctl"),
        expect("b", "32 path", 0, b"/usr/bin/keyctl"),
        expect("a", "32 path gen=1", 0, b"/usr/bin/keyctl"),
        expect("a", "64 path", 0, b"/usr/bin/keyctl"),
        expect("a", "32 id", 0, b""),
    ];
    assert_eq!(keys, expected);

    // By checksum: the name does not matter, each byte does.
    let by_sum = ask(&asker, "a", "32 csum").unwrap();
    assert_eq!(
        by_sum,
        expect("a", "32 csum", 0, &sha256("/usr/bin/keyctl".as_ref()))
    );
    assert_eq!(ask(&copy, "a", "32 csum").unwrap(), by_sum);
    let mut bytes = fs::read(&copy.program).unwrap();
    bytes.push(0);
    fs::write(rule.directory().join("bytes"), bytes).unwrap();
    let changed = Asker {
        program: rule.copy_of_keyctl("changed"),
        ..Asker::default()
    };
    let overwritten = Command::new("cp")
        .arg(rule.directory().join("bytes"))
        .arg(&changed.program)
        .status();
    assert!(overwritten.unwrap().success());
    let of_changed = ask(&changed, "a", "32 csum").unwrap();
    assert_eq!(
        of_changed,
        expect("a", "32 csum", 0, &sha256(&changed.program))
    );
    assert_ne!(of_changed, by_sum);

    // The machine reboots; then it gets another TPM.
    tpm.restart().unwrap();
    assert_eq!(ask(&asker, "a", "32 path").unwrap(), key);
    let other = Swtpm::builder().start().unwrap();
    rule.configure(&configured(&other));
    assert_ne!(ask(&asker, "a", "32 path").unwrap(), key);

    rule.assert_nothing_left();
    assert_no_handles(&tpm);
    assert_no_handles(&other);
}

#[test]
fn both_forms_of_the_callout_give_one_key() {
    let tpm = Swtpm::builder().start().unwrap();
    let direct = Rule::direct(&configured(&tpm));
    let pipe = Rule::pipe(&configured(&tpm));
    for (rule, info) in [
        (&direct, "1024 path"),
        (&pipe, "1024 path"),
        (&pipe, "1 csum"),
    ] {
        let value = match info {
            "1 csum" => sha256("/usr/bin/keyctl".as_ref()),
            _ => b"/usr/bin/keyctl".to_vec(),
        };
        let request = Request::user(&rule.key_id("x"), info, 0, value);
        assert_eq!(
            rule.ask("x", info).unwrap(),
            oracle::key(&tpm.tcti(), &request)
        );
        rule.assert_nothing_left();
    }
}

#[test]
fn tdk_makes_the_same_keys_and_logon_keys_are_others() {
    let tpm = golden::tpm();
    let rule = Rule::direct(&(configured(&tpm) + "realm = \"blue\"\n"));
    let by_hand = |key_type: &str| {
        let output = programs::tdk()
            .args(["derive", "--what", "32", "--identity", "path", "--uid", "0"])
            .args(["--value", "/usr/bin/keyctl", "--type", key_type])
            .arg("--config")
            .arg(rule.config_file())
            .args(["--key-id", &rule.key_id("x"), "--format", "raw"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    assert_eq!(rule.ask("x", "32 path").unwrap(), by_hand("user"));
    assert_ne!(by_hand("user"), by_hand("logon"));

    // A logon key can't be read, but it is there, and nobody reads it as a user
    // key either.
    let logon = Asker {
        key_type: "logon",
        ..Asker::default()
    };
    let description = logon.describe(rule.description("x"), "32 path").unwrap();
    assert!(description.starts_with(b"logon;0;0;"), "{description:?}");
}
