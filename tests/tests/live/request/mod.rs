// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asking as a careful program does: `tdk request`, and the library below it.

mod commands;
mod keyrings;
mod library;

use std::path::PathBuf;
use std::process::{Command, Output};

use tdk_simulator::Swtpm;
use tdk_tests::live::Rule;
use tdk_tests::middle::{Action, Middle};
use tdk_tests::oracle::{self, Request};
use tdk_tests::programs::{stderr, stdout};
use tdk_tests::{golden, programs};

/// A rule, and a `tdk` that every user can run.
struct Bench {
    tpm: Swtpm,
    rule: Rule,
    tdk: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let tpm = golden::tpm();
        let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
        let tdk = rule.copy_of(&programs::tdk_file(), "tdk");
        Self { tpm, rule, tdk }
    }

    /// `tdk request` for 32 bytes, as an argument list.
    fn request(&self, name: &str) -> Vec<String> {
        let tdk = self.tdk.to_str().unwrap();
        let key_id = self.rule.key_id(name);
        let words = [
            tdk,
            "request",
            "--key-id",
            &key_id,
            "--what",
            "32",
            "--identity",
            "path",
        ];
        words.map(str::to_owned).to_vec()
    }

    /// The key that it has to get.
    fn expected(&self, name: &str, uid: u32) -> Vec<u8> {
        let tdk = self.tdk.to_str().unwrap();
        let request = Request::user(&self.rule.key_id(name), "32 path", uid, tdk);
        oracle::key(&self.tpm.tcti(), &request)
    }
}

/// Runs a command as this user, in a directory where that user may be, with no
/// open files but the standard ones.
fn run_as(uid: u32, command: &[String]) -> Output {
    let uid = uid.to_string();
    let close = r#"exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-; exec "$@""#;
    let command = script(close, command);
    Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &uid, "--clear-groups"])
        .args(command)
        .current_dir("/")
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

/// A shell script with a command as its arguments.
fn script(script: &str, command: &[String]) -> Vec<String> {
    let shell = ["sh", "-c", script, "sh"].map(str::to_owned);
    [&shell, command].concat()
}

/// The same in a session keyring of its own.
fn in_session(text: &str, command: &[String]) -> Vec<String> {
    let keyctl = ["keyctl", "session", "-"].map(str::to_owned);
    [&keyctl[..], &script(text, command)].concat()
}

fn with(command: &[String], more: &[&str]) -> Vec<String> {
    let mut command = command.to_vec();
    command.extend(more.iter().map(|word| (*word).to_owned()));
    command
}

#[test]
fn ones_own_key() {
    let bench = Bench::new();
    for uid in [0, 1000] {
        let request = bench.request("x");
        let key = bench.expected("x", uid);
        let output = run_as(uid, &request);
        assert_eq!(stdout(&output), hex::encode(&key));
        assert!(output.stderr.is_empty(), "{output:?}");
        let raw = run_as(uid, &with(&request, &["--format", "raw"]));
        assert_eq!(raw.stdout, key);
        // Asked for by the rest of the grammar.
        let tdk = bench.tdk.to_str().unwrap();
        let digest = programs::run("sha256sum", &[tdk]);
        let digest = hex::decode(&stdout(&digest)[..64]).unwrap();
        let key_id = bench.rule.key_id("y");
        for (what, identity, generation, value) in [
            ("1024", "path", "7", tdk.as_bytes()),
            ("1", "csum", "0", &digest),
            ("32", "id", "4294967295", b""),
            ("rsa2048", "path", "0", tdk.as_bytes()),
            ("p256", "path", "0", tdk.as_bytes()),
            ("p384", "id", "1", b""),
            ("ed25519", "csum", "0", &digest),
        ] {
            let request = [
                tdk,
                "request",
                "--key-id",
                &key_id,
                "--what",
                what,
                "--identity",
                identity,
                "--gen",
                generation,
                "--format",
                "raw",
            ];
            let info = format!("{what} {identity} gen={generation}");
            let expected = Request::user(&key_id, &info, uid, value);
            assert_eq!(
                run_as(uid, &request.map(str::to_owned)).stdout,
                oracle::key(&bench.tpm.tcti(), &expected),
                "{info}"
            );
        }
    }
    bench.rule.assert_nothing_left();
}

#[test]
fn pairs_of_keys_as_text() {
    let bench = Bench::new();
    let tdk = bench.tdk.to_str().unwrap();
    let key_id = bench.rule.key_id("x");
    let request = |more: &[&str]| {
        let words = [tdk, "request", "--key-id", &key_id, "--identity", "id"];
        run_as(1000, &with(&words.map(str::to_owned), more))
    };
    for what in ["rsa3072", "ed25519"] {
        let expected = Request::user(&key_id, &format!("{what} id"), 1000, "");
        let der = oracle::key(&bench.tpm.tcti(), &expected);
        let pem = request(&["--what", what]);
        assert!(pem.status.success(), "{pem:?}");
        assert!(pem.stdout.starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
        assert_eq!(
            request(&["--what", what, "--format", "pem"]).stdout,
            pem.stdout
        );
        // A command that reads one from a file.
        let to_der = [
            "openssl",
            "pkcs8",
            "-topk8",
            "-nocrypt",
            "-outform",
            "DER",
            "-in",
            "/dev/fd/3",
        ];
        let command = [&["--what", what, "--format", "pem", "--"], &to_der[..]].concat();
        assert_eq!(request(&command).stdout, der);
        // And as it comes from the kernel.
        assert_eq!(
            request(&["--what", what, "--", "sh", "-c", "cat <&3"]).stdout,
            der
        );
    }
    bench.rule.assert_nothing_left();
}

#[test]
fn odd_key_ids() {
    let bench = Bench::new();
    let longest = "k".repeat(255 - bench.rule.key_id("").len());
    for name in ["a;b;0;c", "two\nlines", "-", "", &longest] {
        let output = run_as(1000, &bench.request(name));
        assert_eq!(stdout(&output), hex::encode(bench.expected(name, 1000)));
    }
    let output = run_as(1000, &bench.request(&(longest + "k")));
    assert!(stderr(&output, 2).contains("the key id is 256 bytes long"));
}

#[test]
fn refusals_and_failures_are_told_in_words() {
    let bench = Bench::new();
    let say = |name: &str, through: &[&str]| {
        let through: Vec<String> = through.iter().map(|word| (*word).to_owned()).collect();
        let output = run_as(1000, &[&through[..], &bench.request(name)].concat());
        stderr(&output, 1)
    };
    let log = "the callout's log says why, for root: journalctl -t key.tpm2_derived, or dmesg\n";
    assert_eq!(
        say("refused", &["unshare", "--user"]),
        format!("tdk: the key is refused (EACCES): {log}")
    );
    bench.rule.configure("tcti = \"device:/dev/nonexistent\"\n");
    assert_eq!(
        say("absent", &[]),
        "tdk: there is no usable TPM (ENODEV): run 'tdk root' as root: it says what is wrong with \
         the TPM\n"
    );
    let silent = Middle::alone(Action::Silence);
    let config = format!("tcti = \"{}\"\ndeadline_seconds = 1\n", silent.tcti());
    bench.rule.configure(&config);
    assert_eq!(
        say("silent", &[]),
        "tdk: the TPM is busy or does not answer (EAGAIN): try again later\n"
    );
    bench.rule.configure("tctii = 1\n");
    assert_eq!(
        say("failed", &[]),
        format!("tdk: the key can't be made (EKEYREJECTED): {log}")
    );
    let key_id = "tdk-test-nobody-answers";
    let output = Command::new(&bench.tdk)
        .args([
            "request",
            "--what",
            "32",
            "--identity",
            "id",
            "--key-id",
            key_id,
        ])
        .args(["--type", "user"])
        .output()
        .unwrap();
    let text = stderr(&output, 1);
    // An installed callout, if there is one, may answer this one.
    assert!(text.starts_with("tdk: ") && text.contains("(E"), "{text}");
    bench.rule.assert_nothing_left();
}
