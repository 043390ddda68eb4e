// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk derive` of RSA, ECDSA and Ed25519 keys: OpenSSL and OpenSSH read what it
//! prints, and get the public keys that it prints.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tdk_simulator::Swtpm;
use tdk_tests::oracle::{self, Request};
use tdk_tests::programs::{run_tdk, stderr, stdout};

/// Pairs of keys, the key type they are asked by, and OpenSSH's name for them.
const PAIRS: [(&str, &str, &str); 5] = [
    ("1", "asymmetric", "ssh-rsa"),
    ("rsa3072", "logon", "ssh-rsa"),
    ("p256", "user", "ecdsa-sha2-nistp256"),
    ("p384", "big_key", "ecdsa-sha2-nistp384"),
    ("ed25519", "user", "ssh-ed25519"),
];

struct Printer<'a> {
    tcti: &'a str,
    what: &'a str,
    key_type: &'a str,
}

impl Printer<'_> {
    /// What `tdk derive` prints of the key "my key" of uid 7, with more arguments.
    fn print(&self, more: &[&str]) -> Vec<u8> {
        let common = [
            "derive",
            "--tcti",
            self.tcti,
            "--identity",
            "id",
            "--uid",
            "7",
            "--key-id",
            "my key",
            "--what",
            self.what,
            "--type",
            self.key_type,
        ];
        let output = run_tdk(&[&common, more].concat());
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        output.stdout
    }
}

/// What a program makes of a file with these contents, named last.
fn read_by(program: &[&str], directory: &Path, contents: &[u8]) -> Vec<u8> {
    let file = directory.join("key");
    fs::write(&file, contents).unwrap();
    // For ssh-keygen.
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let output = Command::new(program[0])
        .args(&program[1..])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{program:?}: {output:?}");
    output.stdout
}

#[test]
fn openssl_and_openssh_read_them() {
    let tpm = Swtpm::builder().start().unwrap();
    let tcti = tpm.tcti();
    let directory = tempfile::tempdir().unwrap();
    let read = |program: &[&str], contents: &[u8]| read_by(program, directory.path(), contents);
    for (what, key_type, ssh_name) in PAIRS {
        let printer = Printer {
            tcti: &tcti,
            what,
            key_type,
        };
        let print = |more: &[&str]| printer.print(more);
        let mut request = Request::user("my key", &format!("{what} id"), 7, "");
        request.key_type = key_type.into();
        let der = oracle::key(&tcti, &request);

        assert_eq!(print(&["--format", "der"]), der);
        assert_eq!(print(&["--format", "raw"]), der);
        assert_eq!(print(&["--format", "hex"]), line_of_hex(&der));
        let pem = print(&[]);
        assert_eq!(print(&["--format", "pem"]), pem);
        assert_eq!(
            read(
                &[
                    "openssl", "pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in"
                ],
                &pem
            ),
            der
        );
        read(&["openssl", "pkey", "-check", "-noout", "-in"], &pem);

        let public = print(&["--public"]);
        assert_eq!(print(&["--public", "--format", "pem"]), public);
        assert_eq!(read(&["openssl", "pkey", "-pubout", "-in"], &pem), public);
        let public_der = print(&["--public", "--format", "der"]);
        assert_eq!(
            read(
                &["openssl", "pkey", "-pubout", "-outform", "DER", "-in"],
                &pem
            ),
            public_der
        );
        assert_eq!(
            print(&["--public", "--format", "hex"]),
            line_of_hex(&public_der)
        );

        let ssh = print(&["--format", "ssh"]);
        let line = print(&["--public", "--format", "ssh"]);
        let shown = String::from_utf8_lossy(&line);
        assert!(
            shown.starts_with(ssh_name) && shown.ends_with(" tpm2:derived:my key\n"),
            "{shown}"
        );
        assert_eq!(read(&["ssh-keygen", "-y", "-f"], &ssh), line);
        // The line's key is the public key of the other format.
        if what == "ed25519" {
            let length_and_key = [&[32], &public_der[public_der.len() - 32..]].concat();
            let text = read(&["openssl", "base64", "-A", "-in"], &length_and_key);
            assert!(shown.contains(&format!("{} ", String::from_utf8(text).unwrap())));
        } else {
            let converted = read(&["ssh-keygen", "-e", "-m", "PKCS8", "-f"], &line);
            assert_eq!(converted, public);
        }
    }
}

#[test]
fn several_keys_and_odd_names() {
    let tpm = Swtpm::builder().start().unwrap();
    let common = [
        "derive",
        "--tcti",
        &tpm.tcti(),
        "--identity",
        "id",
        "--uid",
        "7",
    ];
    let more = [
        "--what", "ed25519", "--key-id", "a\nb", "--key-id", "c\u{e9}", "--public",
    ];
    let print = |format: &str| {
        stdout(&run_tdk(
            &[&common[..], &more, &["--format", format]].concat(),
        ))
    };
    let lines = print("ssh");
    let comments: Vec<_> = lines
        .lines()
        .map(|line| line.splitn(3, ' ').nth(2).unwrap())
        .collect();
    assert_eq!(comments, [r"tpm2:derived:a\nb", r"tpm2:derived:c\xc3\xa9"]);
    assert_eq!(print("pem").matches("BEGIN PUBLIC KEY").count(), 2);
    let refused = stderr(
        &run_tdk(&[&common[..], &more, &["--format", "der"]].concat()),
        2,
    );
    assert!(refused.contains("--format der prints one key"), "{refused}");
}

fn line_of_hex(bytes: &[u8]) -> Vec<u8> {
    format!("{}\n", hex::encode(bytes)).into()
}
