// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many askers at once behind the kernel's resource manager, for keys of several types.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use tdk_simulator::Swtpm;
use tdk_simulator::guest::Run;
use tdk_tests::guest::{NEW, Script};
use tdk_tests::oracle;
use tdk_tests::storm::{Answered, Asking, Summary, under_construction};
use tdk_tests::{golden, programs};

/// How many ask: as many as an emulated processor serves within the 120 seconds that a
/// callout waits for its turn, on a machine that is busy, too.
const ASKERS: usize = 150;
/// So many users.
const USERS: usize = 15;

/// Every so many asks for an RSA key, whose search takes an emulated processor seconds.
const RSA_EVERY: usize = 50;
/// What the others ask for.
const OTHERS: [(&str, &str, &str); 8] = [
    ("user", "32", "path"),
    ("logon", "32", "path"),
    ("user", "p256", "path"),
    ("user", "64", "id"),
    ("user", "ed25519", "path"),
    ("logon", "64", "id"),
    ("user", "256", "path"),
    ("user", "p384", "id"),
];

/// Where the asker is.
const ASKER: &str = "/usr/bin/asker";

fn askings() -> Vec<Asking> {
    let asking = |number: usize| {
        let (key_type, what, identity) = match number % RSA_EVERY {
            0 => ("asymmetric", "rsa2048", "path"),
            _ => OTHERS[number % OTHERS.len()],
        };
        Asking {
            uid: u32::try_from(2000 + number % USERS).unwrap(),
            key_type,
            key_id: format!("storm-{}", number / 2),
            what: what.into(),
            identity,
        }
    };
    (0..ASKERS).map(asking).collect()
}

/// The lines of a script's output that begin with a word, without it.
fn lines<'a>(run: &'a str, word: &str) -> Vec<&'a str> {
    let lines = run.lines();
    lines
        .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
        .collect()
}

/// What each asker says, in their order.
fn answers(output: &str) -> Vec<Answered> {
    let mut answers = vec![None; ASKERS];
    for line in lines(output, "answer") {
        let (number, answer) = Answered::parse(line).expect(line);
        assert!(answers[number].replace(answer).is_none(), "{line}");
    }
    answers.into_iter().map(Option::unwrap).collect()
}

/// Whether this is a signature of 32 zeros by the pair of keys that `tdk derive` makes for
/// this asker.
fn is_signed(tpm: &Swtpm, asking: &Asking, signature: &[u8]) -> bool {
    let file = |content: &[u8]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    };
    let uid = asking.uid.to_string();
    let derived = programs::tdk()
        .args(["derive", "--public", "--tcti", &tpm.tcti()])
        .args(["--type", asking.key_type, "--what", &asking.what])
        .args(["--identity", asking.identity, "--value", ASKER])
        .args(["--uid", &uid, "--key-id", &asking.key_id])
        .output()
        .unwrap();
    let public = file(programs::stdout(&derived).as_bytes());
    let (signature, digest) = (file(signature), file(&[0; 32]));
    let verified = Command::new("openssl")
        .args(["pkeyutl", "-verify", "-pubin", "-inkey"])
        .arg(public.path())
        .arg("-sigfile")
        .arg(signature.path())
        .arg("-in")
        .arg(digest.path())
        .args(["-pkeyopt", "digest:sha256"])
        .output()
        .unwrap();
    verified.status.success()
}

/// Fails if not everybody has got the right key.
fn assert_right(askings: &[Asking], answers: &[Answered]) {
    let tpm = golden::tpm();
    let readable = |asking: &&Asking| asking.key_type == "user";
    let requests = askings.iter().filter(readable);
    let requests: Vec<_> = requests.map(|asking| asking.request(ASKER)).collect();
    let mut expected = oracle::derive(&tpm.tcti(), &requests).into_iter();
    for (asking, answer) in askings.iter().zip(answers) {
        let shown = answer.key.as_ref().unwrap_or_else(|error| {
            panic!("{asking:?}: {error:?}");
        });
        match asking.key_type {
            "user" => assert_eq!(*shown, expected.next().unwrap().unwrap(), "{asking:?}"),
            "asymmetric" => assert!(is_signed(&tpm, asking, shown), "{asking:?}"),
            _ => {
                // The kernel hands it to nobody.
                let described = String::from_utf8_lossy(shown);
                let owner = format!("{};{};0;", asking.key_type, asking.uid);
                assert!(described.starts_with(&owner), "{described}");
                let name = format!(";tpm2:derived:{}", asking.key_id);
                assert!(described.ends_with(&name), "{described}");
            }
        }
    }
}

fn storm(askings: &[Asking]) -> Run {
    let list: Vec<_> = askings
        .iter()
        .enumerate()
        .map(|(number, asking)| {
            let arguments = asking.arguments(number).join(" ");
            format!("{} {arguments}\n", asking.uid)
        })
        .collect();
    let mut script = Script::default();
    script.lines(include_str!("storm.sh"), askings.len());
    let guest = NEW
        .guest()
        .state(golden::state())
        // An asker and its callout take some 5 MiB together.
        .memory(2048)
        // A line in the log for each.
        .kernel_arguments("log_buf_len=4M")
        .time_limit(Duration::from_mins(12))
        .module("pkcs8_key_parser")
        .file(programs::asker(), ASKER, 0o755)
        .text("/etc/storm", list.concat())
        // While hundreds begin, whoever has the TPM hardly has the processor.
        .text("/etc/tdk/config.toml", "deadline_seconds = 600\n");
    script.run(guest).1
}

#[test]
fn many_at_once() {
    let askings = askings();
    let run = storm(&askings);
    let output = String::from_utf8(run.stdout).unwrap();
    let answers = answers(&output);
    println!("{}", Summary::of(&answers));
    let refused: Vec<_> = answers
        .iter()
        .filter_map(|a| a.key.as_ref().err())
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_right(&askings, &answers);
    let key_users = lines(&output, "keys").join("\n");
    assert_eq!(under_construction(&key_users, &askings), 0, "{key_users}");
    assert_eq!(lines(&output, "sessions"), ["0"]);
}
