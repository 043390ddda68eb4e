// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is called wrongly is said before a TPM is looked for.

use tdk_tests::programs::{run_tdk, stderr};

use super::derive;

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
        (&["--what", "32"], "--key-id <ID>|--key-id-file <FILE>"),
        (
            &["--what", "32", "--key-id", "x", "--key-id-file", "y"],
            "cannot be used with",
        ),
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
