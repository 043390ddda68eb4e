// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The operator's command.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod backend;
mod det_keygen;
mod docs;
mod doctor;
mod enroll;
mod install;
mod owner_auth;
mod pairs;
mod policy;
mod request;
mod simulator;
mod ssh_agent;

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Output, Stdio};

use tdk_simulator::Swtpm;
use tdk_tests::assert_no_handles;
use tdk_tests::backend::Backend;
use tdk_tests::middle::{Action, Middle};
use tdk_tests::programs::{run_tdk, stderr, stdout, tdk};
use tdk_tests::{golden, oracle};

/// `tdk derive` for /usr/bin/keyctl and uid 1000, with more arguments.
fn derive(tcti: &str, more: &[&str]) -> Output {
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

fn oracles(tcti: &str, key_id: &str, info: &str) -> Vec<u8> {
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

/// More than is written at once, in lines that its size is no multiple of.
#[test]
fn many_keys_are_all_there() {
    let tpm = Swtpm::builder().start().unwrap();
    let ids: Vec<_> = (0..3000).map(|number| number.to_string()).collect();
    let mut arguments = vec!["--what", "33"];
    arguments.extend(ids.iter().flat_map(|id| ["--key-id", id]));
    let printed = stdout(&derive(&tpm.tcti(), &arguments));
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), ids.len());
    assert!(lines.iter().all(|line| line.len() == 66));
    assert_eq!(lines.iter().collect::<HashSet<_>>().len(), ids.len());
    for number in [0, 977, 978, 2999] {
        let key = oracles(&tpm.tcti(), &ids[number], "33 path");
        assert_eq!(lines[number], hex::encode(key), "{number}");
    }
}

/// Whoever reads a few lines and goes away, as head(1) does.
#[test]
fn nobody_reads_the_rest() {
    let tpm = Swtpm::builder().start().unwrap();
    let mut command = tdk();
    command.args(["derive", "--tcti", &tpm.tcti(), "--what", "1024"]);
    command.args(["--identity", "id", "--uid", "0"]);
    command.args((0..200).map(|number| format!("--key-id={number}")));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut start = [0; 2048];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(stderr(&output, 1).contains("can't write to standard output"));
}

/// Each of several keys that take long is printed when it has been made.
#[test]
fn a_pair_of_keys_does_not_wait_for_the_next() {
    let tpm = Swtpm::builder().start().unwrap();
    let mut command = tdk();
    command.args(["derive", "--tcti", &tpm.tcti(), "--what", "p256"]);
    command.args(["--identity", "id", "--uid", "0", "--format", "pem"]);
    command.args((0..3).map(|number| format!("--key-id={number}")));
    // Here each write is a message.
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    command.stdout(std::os::fd::OwnedFd::from(theirs));
    assert!(command.status().unwrap().success());
    drop(command);
    let mut message = [0; 1024];
    for _ in 0..3 {
        let length = ours.recv(&mut message).unwrap();
        let text = String::from_utf8_lossy(&message[..length]);
        assert!(text.ends_with("-----END PRIVATE KEY-----\n"), "{text}");
        assert_eq!(text.matches("BEGIN").count(), 1);
    }
}

#[test]
fn formats() {
    let tpm = Swtpm::builder().start().unwrap();
    let tcti = tpm.tcti();
    let key = oracles(&tcti, "x", "33 path");
    let in_format = |format| {
        let output = derive(
            &tcti,
            &["--what", "33", "--key-id", "x", "--format", format],
        );
        assert!(output.status.success());
        output.stdout
    };
    assert_eq!(in_format("raw"), key);
    assert_eq!(
        in_format("hex"),
        format!("{}\n", hex::encode(&key)).into_bytes()
    );
    let encoded = std::process::Command::new("base64")
        .args(["-d"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write;
            child
                .stdin
                .take()
                .unwrap()
                .write_all(&in_format("base64"))?;
            child.wait_with_output()
        })
        .unwrap();
    assert_eq!(encoded.stdout, key);
}

#[test]
fn a_key_that_can_not_be_written_is_not_lost_silently() {
    let tpm = Swtpm::builder().start().unwrap();
    for format in ["raw", "hex"] {
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
            .args(["--identity", "id", "--key-id", "x", "--format", format])
            .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
            .output()
            .unwrap();
        assert!(stderr(&output, 1).contains("can't write to standard output"));
    }
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

#[test]
fn what_is_no_device_is_not_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "content").unwrap();
    let tcti = format!("device:{}", file.display());
    let text = stderr(&run_tdk(&["root", "--tcti", &tcti]), 1);
    assert!(text.contains("not a character device"), "{text}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
    let text = stderr(&run_tdk(&["root", "--tcti", "device:/dev/null"]), 1);
    assert!(text.contains("not a TPM device"), "{text}");
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
fn what_is_called_wrongly() {
    let nowhere = "swtpm:path=/nonexistent";
    let say = |more: &[&str]| stderr(&derive(nowhere, more), 2);
    for (more, expected) in [
        (
            &["--what", "0", "--key-id", "x"][..],
            "'0' is neither a length",
        ),
        (
            &["--what", "1025", "--key-id", "x"],
            "'1025' is neither a length",
        ),
        (
            &["--what", "32 csum", "--key-id", "x"],
            "--what takes one word",
        ),
        (&["--what", "", "--key-id", "x"], "--what takes one word"),
        (
            &["--what", "rsa9999", "--key-id", "x"],
            "'rsa9999' is neither a length",
        ),
        (
            &["--what", "rsa2048", "--key-id", "x"],
            "--type asymmetric or --type user?",
        ),
        (
            &["--what", "p256", "--key-id", "x", "--type", "asymmetric"],
            "the kernel takes only RSA private keys",
        ),
        (
            &["--what", "32", "--key-id", "x", "--public"],
            "a key of 32 bytes has no public key",
        ),
        (
            &["--what", "32", "--key-id", "x", "--format", "ssh"],
            "a key of 32 bytes is printed in hex, base64 or raw",
        ),
        (
            &[
                "--what", "p256", "--key-id", "x", "--key-id", "y", "--format", "der",
            ],
            "--format der prints one key",
        ),
        (&["--what", "32", "--key-id", ""], "the key id is empty"),
        (
            &["--what", "32", "--key-id", &"k".repeat(256)],
            "256 bytes long",
        ),
        (
            &["--what", "32", "--key-id", "x", "--gen", "-1"],
            "'gen=-1' is no generation",
        ),
        (
            &["--what", "32", "--key-id", "x", "--gen", "1 v=1"],
            "--gen takes one word",
        ),
        (
            &["--what", "32", "--key-id", "x", "--scope", "any"],
            "cannot be used with",
        ),
        (
            &["--what", "32", "--key-id", "x", "--type", "keyring"],
            "key type 'keyring'",
        ),
        (
            &["--what", "32", "--key-id", "x", "--format", "pkcs8"],
            "invalid value 'pkcs8'",
        ),
        (
            &["--what", "32", "--key-id", "x", "--realm", &"r".repeat(65)],
            "at most 64 bytes",
        ),
        (
            &[
                "--what", "32", "--key-id", "x", "--key-id", "y", "--format", "raw",
            ],
            "--format raw prints one key",
        ),
        (&["--what", "32"], "--key-id <ID>"),
        (&["--key-id", "x"], "--what <WHAT>"),
    ] {
        let text = say(more);
        assert!(text.contains(expected), "{more:?}: {text}");
    }
}

#[test]
fn askers_that_are_described_wrongly() {
    let nowhere = "swtpm:path=/nonexistent";
    let say = |identity: &[&str]| {
        let rest = ["derive", "--what", "32", "--key-id", "x", "--tcti", nowhere];
        stderr(&run_tdk(&[&rest, identity].concat()), 2)
    };
    for (identity, expected) in [
        (
            &["--identity", "path", "--uid", "0"][..],
            "--value is missing",
        ),
        (
            &["--identity", "path", "--uid", "0", "--value", "x"],
            "absolute, canonical path",
        ),
        (
            &["--identity", "path", "--uid", "0", "--value", "//x"],
            "absolute, canonical path",
        ),
        (
            &[
                "--identity",
                "path",
                "--uid",
                "0",
                "--value",
                "/x (deleted)",
            ],
            "(deleted)",
        ),
        (
            &["--identity", "csum", "--uid", "0", "--value", "ab"],
            "64 hexadecimal digits",
        ),
        (
            &["--identity", "id", "--uid", "0", "--value", "x"],
            "takes no --value",
        ),
        (
            &["--identity", "cgroup", "--uid", "0", "--value", "/"],
            "below /",
        ),
        (
            &["--identity", "verity", "--uid", "0", "--value", "sha1:ab"],
            "sha256:HEX",
        ),
        (
            &["--identity", "verity", "--uid", "0", "--value", "sha256:ab"],
            "32 bytes",
        ),
        (&["--identity", "me", "--uid", "0"], "'me' is no identity"),
        (&["--identity", "id"], "--uid <NUMBER>"),
        (
            &["--identity", "id", "--uid", "4294967295"],
            "uid 4294967295",
        ),
        (&["--identity", "id", "--uid", "-1"], "--uid"),
        (&["--identity", "id", "--uid", "root"], "--uid"),
    ] {
        let text = say(identity);
        assert!(text.contains(expected), "{identity:?}: {text}");
    }
}

#[test]
fn the_root_keys_name() {
    let tpm = golden::tpm();
    let tcti = tpm.tcti();
    assert_eq!(stdout(&run_tdk(&["root", "--tcti", &tcti])), golden::root());
    let json = stdout(&run_tdk(&["root", "--json", "--tcti", &tcti]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["name"], golden::root());
    assert_eq!(json["tcti"], tcti);
    assert_no_handles(&tpm);
}

#[test]
fn where_the_tpm_is() {
    let tpm = golden::tpm();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    let path = config.to_str().unwrap();
    fs::write(&config, format!("tcti = \"{}\"\n", tpm.tcti())).unwrap();
    assert_eq!(
        stdout(&run_tdk(&["root", "--config", path])),
        golden::root()
    );

    // The environment that TSS programs heed is not.
    let output = tdk()
        .args(["root", "--config", path])
        .env("TPM2TOOLS_TCTI", "swtpm:path=/nonexistent")
        .env("TCTI", "swtpm:path=/nonexistent")
        .output();
    assert_eq!(stdout(&output.unwrap()), golden::root());

    fs::write(&config, "realm = \"blue\"\ntcti = 'tabrmd:'\n").unwrap();
    let text = stderr(&run_tdk(&["root", "--config", path]), 1);
    assert!(text.contains("config.toml:2:8: TCTI 'tabrmd:'"), "{text}");
    let text = stderr(&run_tdk(&["root", "--tcti", "swtpm"]), 2);
    assert!(text.contains("TCTI 'swtpm': write"), "{text}");
    let text = stderr(&run_tdk(&["root", "--tcti", "device:/nonexistent"]), 1);
    assert!(
        text.contains("can't open the TPM at device:/nonexistent"),
        "{text}"
    );
}

#[test]
fn a_configured_realm_counts() {
    let tpm = Swtpm::builder().start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    fs::write(&config, "realm = \"blue\"\n").unwrap();
    let mut request = oracle::Request::user("x", "32 path", 1000, "/usr/bin/keyctl");
    request.realm = b"blue".into();
    let realm = hex::encode(oracle::key(&tpm.tcti(), &request));
    let asked = [
        "--what",
        "32",
        "--key-id",
        "x",
        "--config",
        config.to_str().unwrap(),
    ];
    assert_eq!(stdout(&derive(&tpm.tcti(), &asked)), realm);
    let asked = ["--what", "32", "--key-id", "x", "--realm", "blue"];
    assert_eq!(stdout(&derive(&tpm.tcti(), &asked)), realm);
}

#[test]
fn configurations_that_can_not_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    let say = |path: &std::path::Path| {
        let output = run_tdk(&["root", "--config", path.to_str().unwrap()]);
        stderr(&output, 1)
    };
    assert!(say(&path).contains("No such file"));
    assert!(say(directory.path()).contains("not a regular file"));
    fs::write(&path, "tctii = 1\n").unwrap();
    assert!(say(&path).contains("config.toml:1:1: unknown field `tctii`"));
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    assert!(say(&path).contains("others than root"));
    std::os::unix::fs::symlink("loop", directory.path().join("loop")).unwrap();
    assert!(say(&directory.path().join("loop")).contains("symbolic links"));
}

#[test]
fn broken_tpms_are_named() {
    let tpm = Swtpm::builder().start().unwrap();
    tpm.set_owner_auth(b"secret").unwrap();
    let text = stderr(&derive(&tpm.tcti(), &["--what", "32", "--key-id", "x"]), 1);
    assert!(
        text.contains("TPM2_CreatePrimary: TPM_RC_BAD_AUTH (0x9a2)") && text.contains("owner_auth"),
        "{text}"
    );
}
