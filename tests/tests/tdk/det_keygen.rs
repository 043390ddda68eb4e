// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk det-keygen`.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};
use tdk_tests::programs::{run_tdk, stderr, tdk};
use tdk_tests::project;

/// The seed whose P-256 key takes a second draw: C2SP det-keygen, ECDSA, step 11.
const SECOND_DRAW: &str = "b432f9be30890480298218510559aed7";

fn det_keygen(what: &str, seed: &str, more: &[&str]) -> Output {
    let arguments = ["det-keygen", "--what", what, "--seed", seed];
    run_tdk(&[&arguments, more].concat())
}

/// The same with standard input.
fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have seen enough before the end.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn with_seed_from_input(input: &[u8]) -> Output {
    let mut command = tdk();
    command.args(["det-keygen", "--what", "p256", "--seed", "-"]);
    with_input(command, input)
}

#[test]
fn golden_keys() {
    let golden = std::fs::read_to_string(project().join("tests/golden/det-keygen.txt")).unwrap();
    for what in ["rsa2048", "rsa2064", "p256", "p384", "ed25519"] {
        let line = golden.lines().find(|line| line.starts_with(what)).unwrap();
        let [_, seed, digest] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let der = det_keygen(what, seed, &["--format", "der"]);
        assert!(der.status.success() && der.stderr.is_empty(), "{der:?}");
        assert_eq!(hex::encode(Sha256::digest(&der.stdout)), digest, "{what}");
    }
}

/// Another program reads the PEM, and finds the same key and nothing wrong.
#[test]
fn openssl_agrees() {
    for what in ["rsa2048", "p256", "p384", "ed25519"] {
        let seed = "42".repeat(32);
        let pem = det_keygen(what, &seed, &[]).stdout;
        assert!(pem.starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
        assert!(pem.ends_with(b"\n-----END PRIVATE KEY-----\n"));
        let mut openssl = Command::new("openssl");
        openssl.args(["pkey", "-check", "-noout"]);
        let checked = with_input(openssl, &pem);
        // Of Ed25519 keys OpenSSL has no check, and says so.
        assert!(checked.status.success() || what == "ed25519", "{checked:?}");
        // It would write it the same way.
        let mut openssl = Command::new("openssl");
        openssl.args(["pkcs8", "-topk8", "-nocrypt"]);
        assert_eq!(with_input(openssl, &pem).stdout, pem, "{what}");
    }
}

#[test]
fn a_seed_from_standard_input() {
    let expected = det_keygen("p256", SECOND_DRAW, &[]);
    assert!(expected.status.success());
    for input in [
        SECOND_DRAW.to_owned(),
        format!("{SECOND_DRAW}\n"),
        format!("  {}\r\n", SECOND_DRAW.to_uppercase()),
    ] {
        let output = with_seed_from_input(input.as_bytes());
        assert_eq!(output.stdout, expected.stdout, "{input:?}");
    }
    let long = with_seed_from_input(&[b'a'; 8193]);
    assert_eq!(stderr(&long, 2), "tdk: --seed has 4096 bytes at most\n");
    let endless = with_seed_from_input(&vec![b'a'; 1 << 20]);
    assert_eq!(stderr(&endless, 2), "tdk: --seed has 4096 bytes at most\n");
}

#[test]
fn what_is_called_wrongly() {
    let what = "tdk: --what is rsa and a number of bits, p256, p384 or ed25519\n";
    for (arguments, expected) in [
        (["", SECOND_DRAW], what),
        (["rsa", SECOND_DRAW], what),
        (["rsa+2048", SECOND_DRAW], what),
        (["rsa99999999999", SECOND_DRAW], what),
        (["p521", SECOND_DRAW], what),
        (["32", SECOND_DRAW], what),
        (
            ["rsa2056", SECOND_DRAW],
            "tdk: RSA with 2056 bits: it takes a multiple of 16, from 2048 to 16384\n",
        ),
        (
            ["rsa1024", SECOND_DRAW],
            "tdk: RSA with 1024 bits: it takes a multiple of 16, from 2048 to 16384\n",
        ),
        (
            ["rsa16400", SECOND_DRAW],
            "tdk: RSA with 16400 bits: it takes a multiple of 16, from 2048 to 16384\n",
        ),
        (
            ["p384", &SECOND_DRAW[..30]],
            "tdk: a seed of 15 bytes: it takes 16 at least, and should have 24\n",
        ),
        (
            ["ed25519", SECOND_DRAW],
            "tdk: an Ed25519 private key of 16 bytes: it takes 32\n",
        ),
        (["p256", "b43"], "tdk: --seed is not in hexadecimal\n"),
        (["p256", "secret"], "tdk: --seed is not in hexadecimal\n"),
    ] {
        let [what, seed] = arguments;
        assert_eq!(stderr(&det_keygen(what, seed, &[]), 2), expected);
    }
    let output = det_keygen("p256", SECOND_DRAW, &["--tcti", "device:/dev/tpm0"]);
    let expected = "tdk: det-keygen needs no TPM: leave out --tcti, --backend and --config\n";
    assert_eq!(stderr(&output, 2), expected);
}
