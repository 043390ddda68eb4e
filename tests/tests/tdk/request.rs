// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk request`, called wrongly. With a kernel that answers: `live::request`.

use tdk_tests::programs::{run_tdk, stderr, stdout};

/// `tdk request` for 32 bytes by path, with more arguments.
fn say(more: &[&str]) -> String {
    let request = ["request", "--key-id", "x", "--identity", "path", "--what"];
    let request = [&request[..], more].concat();
    stderr(&run_tdk(&request), 2)
}

#[test]
fn what_is_called_wrongly() {
    for (more, expected) in [
        (
            &["0"][..],
            "tdk: '0' is neither a length nor a kind of key: the first word is a length in bytes \
             from 1 to 1024, in plain decimal digits, or one of rsa2048, rsa3072, rsa4096, p256, \
             p384, ed25519\n",
        ),
        (
            &["32", "--format", "pem"],
            "tdk: --format pem is for keys that are not plain bytes: give hex, base64 or raw\n",
        ),
        (&["32 csum"], "tdk: --what takes one word\n"),
        (
            &["32", "--gen", "-1"],
            "tdk: 'gen=-1' is no generation: write gen=N with N from 0 to 4294967295\n",
        ),
        (
            &["32", "--fd", "2", "--", "cat"],
            "tdk: --fd 2 is where messages go: give 0, 3 or above\n",
        ),
        (
            &["32", "--tcti", "device:/dev/tpm0"],
            "tdk: request asks the kernel, whose callout has its own configuration: leave out \
             --tcti, --backend and --config\n",
        ),
        (
            &["32", "--config", "x"],
            "tdk: request asks the kernel, whose callout has its own configuration: leave out \
             --tcti, --backend and --config\n",
        ),
        (
            &["32", "--backend", "tss"],
            "tdk: request asks the kernel, whose callout has its own configuration: leave out \
             --tcti, --backend and --config\n",
        ),
        (
            &["32", "--type", "logon"],
            "tdk: the kernel lets nobody read logon keys, so tdk can't hand one on: have it kept \
             in a keyring, by 'keyctl request2 logon ...'\n",
        ),
    ] {
        assert_eq!(say(more), expected, "{more:?}");
    }
}

#[test]
fn options_that_do_not_go_together() {
    for (more, expected) in [
        (&["32", "--fd", "3"][..], "<COMMAND>..."),
        (&["32", "--fd", "-1", "--", "cat"], "--fd"),
        (&["32", "cat"], "unexpected argument 'cat'"),
        (
            &["32", "--type", "keyring"],
            "[possible values: user, big_key]",
        ),
        (&["32", "--uid", "0"], "unexpected argument '--uid'"),
    ] {
        let text = say(more);
        assert!(text.contains(expected), "{more:?}: {text}");
    }
}

#[test]
fn askers_and_key_ids_that_are_none() {
    let request = ["request", "--what", "32"];
    for (more, expected) in [
        (
            &["--key-id", "x", "--identity", "me"][..],
            "tdk: 'me' is no identity: the second word is one of path, csum, id, cgroup, verity\n",
        ),
        (
            &["--key-id", "", "--identity", "id"],
            "tdk: the key id is empty: a key id has 1 to 255 bytes, none of them 0\n",
        ),
        (
            &["--key-id", &"k".repeat(256), "--identity", "id"],
            "tdk: the key id is 256 bytes long: a key id has 1 to 255 bytes, none of them 0\n",
        ),
    ] {
        let arguments = [&request[..], more].concat();
        assert_eq!(stderr(&run_tdk(&arguments), 2), expected, "{more:?}");
    }
}

#[test]
fn the_help_says_who_asks() {
    let help = stdout(&run_tdk(&["request", "--help"]));
    assert!(help.contains("The one who asks is tdk"), "{help}");
}
