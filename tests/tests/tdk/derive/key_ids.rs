// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Key ids from a file.

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};

use tdk_simulator::Swtpm;
use tdk_tests::backend::Backend;
use tdk_tests::middle::{Action, Middle};
use tdk_tests::programs::{stderr, stdout, tdk};

use super::{derive, oracles};

/// `tdk derive` for key ids that are written into its standard input.
fn derive_given(tcti: &str, key_ids: &[u8]) -> Output {
    let mut child = tdk()
        .args(["derive", "--tcti", tcti, "--what", "32", "--uid", "1000"])
        .args(["--identity", "path", "--value", "/usr/bin/keyctl"])
        .args(["--key-id-file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(key_ids).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_keys_that_options_give() {
    let tpm = Swtpm::builder().start().unwrap();
    let middle = Middle::before(&tpm, |_, _| Action::Pass);
    let ids = ["a", "--uid", " b c", "\u{e9}\r", "a"];
    let keys: Vec<String> = ids
        .iter()
        .map(|id| hex::encode(oracles(&tpm.tcti(), id, "32 path")))
        .collect();
    let keys = keys.join("\n");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ids");
    let file = file.to_str().unwrap();
    fs::write(file, ids.join("\n") + "\n").unwrap();
    let output = derive(&middle.tcti(), &["--what", "32", "--key-id-file", file]);
    assert_eq!(stdout(&output), keys);
    assert_eq!(middle.seen(), Backend::Direct.commands());

    // The last line need not end.
    let output = derive_given(&middle.tcti(), ids.join("\n").as_bytes());
    assert_eq!(stdout(&output), keys);
}

/// No key is printed, and no TPM looked for, if one of them can't be a key id.
#[test]
fn lines_that_are_no_key_ids() {
    let nowhere = "swtpm:path=/nonexistent";
    let long = format!("a\n{}\n", "k".repeat(256));
    for (ids, expected) in [
        (&b""[..], "standard input, line 1: the key id is empty"),
        (b"\n", "standard input, line 1: the key id is empty"),
        (b"a\n\nb\n", "standard input, line 2: the key id is empty"),
        (b"a\nb\n\n", "standard input, line 3: the key id is empty"),
        (b"a\nb\0c", "standard input, line 2: "),
        (
            long.as_bytes(),
            "standard input, line 2: the key id is 256 bytes long",
        ),
    ] {
        let output = derive_given(nowhere, ids);
        assert!(output.stdout.is_empty());
        let text = stderr(&output, 2);
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let two = ["--what", "32", "--format", "raw", "--key-id-file"];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ids");
    let file = file.to_str().unwrap();
    fs::write(file, "a\nb\n").unwrap();
    let text = stderr(&derive(nowhere, &[&two[..], &[file]].concat()), 2);
    assert!(text.contains("--format raw prints one key"), "{text}");
}

#[test]
fn files_that_can_not_be_read() {
    let nowhere = "swtpm:path=/nonexistent";
    let say = |file| {
        stderr(
            &derive(nowhere, &["--what", "32", "--key-id-file", file]),
            1,
        )
    };
    let text = say("/nonexistent/ids");
    assert!(
        text.contains("can't read /nonexistent/ids: No such"),
        "{text}"
    );
    let text = say("/tmp");
    assert!(text.contains("can't read /tmp: Is a directory"), "{text}");
}
