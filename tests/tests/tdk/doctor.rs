// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk doctor` and TPMs in every state: what this machine has besides is not
//! looked at here, but in guests.

mod places;

use std::fs;
use std::process::Output;

use tdk_simulator::Swtpm;
use tdk_tests::backend::Backend;
use tdk_tests::doctor::{ANSWERS, Change, Report, depend};
use tdk_tests::middle::{Action, Middle, cc};
use tdk_tests::programs::{run_tdk, stderr};
use tdk_tests::{assert_no_handles, golden, not_run};

fn report(output: &Output) -> Report {
    assert!(output.stderr.is_empty(), "{output:?}");
    let report = Report::parse(std::str::from_utf8(&output.stdout).unwrap());
    assert_eq!(output.status.code(), Some(report.exit_status()));
    // Whether requests are answered here is not for these tests to know.
    report.without("request")
}

fn doctor(tcti: &str) -> Report {
    report(&run_tdk(&["doctor", "--json", "--tcti", tcti]))
}

/// With a configuration of this text, and `--tcti` if there is one.
fn configured(text: &str, tcti: Option<&str>) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    fs::write(&config, text).unwrap();
    let mut arguments = vec!["doctor", "--json", "--config", config.to_str().unwrap()];
    arguments.extend(tcti.map(|_| "--tcti"));
    arguments.extend(tcti);
    report(&run_tdk(&arguments))
}

/// A TPM in order, seen through somebody who passes everything on, and what
/// doctor says of it.
fn healthy(tpm: &Swtpm) -> Report {
    doctor(&Middle::before(tpm, |_, _| Action::Pass).tcti())
}

/// The changes that come of somebody in the middle. The socket is another each
/// time.
fn through(tpm: &Swtpm, what: &str, action: fn(u32, usize) -> Action, expected: &[Change<'_>]) {
    let before = healthy(tpm);
    let middle = Middle::before(tpm, action);
    let now = doctor(&middle.tcti());
    let moved = [&[("tpm.device", "note", "is a software TPM")], expected].concat();
    now.assert_changes(&before, what, &moved);
    assert_no_handles(tpm);
}

#[test]
fn a_tpm_in_order() {
    let tpm = golden::tpm();
    let report = doctor(&tpm.tcti());
    let socket = tpm.tcti().replace("swtpm:path=", "");
    let root = format!("made twice, it is {}", golden::root());
    for (id, status, seen) in [
        (
            "tpm.device",
            "note",
            &*format!("{socket} is a software TPM: keys are as safe as its state is"),
        ),
        ("tpm.hierarchy", "ok", "the owner hierarchy is on"),
        (
            "tpm.owner-auth",
            "ok",
            "the owner hierarchy has no password",
        ),
        (
            "tpm.lockout",
            "ok",
            "not locked out (0 wrong passwords of 3)",
        ),
        ("tpm.leftovers", "ok", "no root key is left in the TPM"),
        ("tpm.root", "ok", &root),
        ("tpm.hmac", "ok", "TPM2_HMAC and TPM2_Sign agree"),
    ] {
        let line = report.line(id);
        assert_eq!((line.status.as_str(), line.seen.as_str()), (status, seen));
    }
    let answer = &report.line("tpm.answer").seen;
    assert!(answer.starts_with("IBM SW TPM, firmware "), "{answer}");
    let time = &report.line("tpm.time").seen;
    let number = time.strip_prefix("one derivation took ").unwrap();
    number.strip_suffix(" ms").unwrap().parse::<f64>().unwrap();
    assert_no_handles(&tpm);
}

/// What a person gets is the same.
#[test]
fn for_people() {
    let tpm = golden::tpm();
    let output = run_tdk(&["doctor", "--tcti", &tpm.tcti()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let report = doctor(&tpm.tcti());
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), report.ids().len() + 2, "{text}");
    for (line, id) in lines.iter().zip(report.ids()) {
        let expected = report.line(id);
        assert!(line.starts_with(&expected.status), "{line}");
        assert_eq!(line[13..].split(' ').next(), Some(id), "{line}");
        assert!(id == "tpm.time" || line.contains(&expected.seen), "{line}");
    }
    assert_eq!(output.status.code(), Some(report.exit_status()));
}

#[test]
fn it_asks_nothing_else() {
    let tpm = Swtpm::builder().start().unwrap();
    let middle = Middle::before(&tpm, |_, _| Action::Pass);
    doctor(&middle.tcti());
    let derivation = |by| {
        let mut commands = Backend::Direct.commands().to_vec();
        commands[7] = by;
        commands
    };
    let expected = [
        vec![cc::GET_CAPABILITY; 4],
        derivation(cc::HMAC),
        derivation(cc::SIGN),
    ];
    assert_eq!(middle.seen(), expected.concat());
}

#[test]
fn commands_that_a_tpm_lacks() {
    let tpm = Swtpm::builder().start().unwrap();
    through(
        &tpm,
        "no TPM2_HMAC",
        |command, _| match command {
            cc::HMAC => Action::Answer(0x143),
            _ => Action::Pass,
        },
        &[("tpm.hmac", "note", "keys come from what gives the same")],
    );
    through(
        &tpm,
        "no TPM2_Sign",
        |command, _| match command {
            cc::SIGN => Action::Answer(0x000B_0143),
            _ => Action::Pass,
        },
        &[("tpm.hmac", "note", "has no TPM2_Sign to compare")],
    );
    through(
        &tpm,
        "TPM2_Sign without HMAC",
        |command, _| match command {
            cc::SIGN => Action::Answer(0x2D2),
            _ => Action::Pass,
        },
        &[("tpm.hmac", "note", "TPM_RC_SCHEME")],
    );
    through(
        &tpm,
        "neither",
        |command, _| match command {
            cc::SIGN | cc::HMAC => Action::Answer(0x143),
            _ => Action::Pass,
        },
        &[
            ("tpm.hmac", "wrong", "neither TPM2_HMAC nor TPM2_Sign"),
            ("tpm.time", "not checked", "tpm.hmac"),
        ],
    );
    through(
        &tpm,
        "a TPM2_HMAC that fails",
        |command, _| match command {
            cc::HMAC => Action::Answer(0x101),
            _ => Action::Pass,
        },
        &[
            ("tpm.hmac", "wrong", "TPM_RC_FAILURE"),
            ("tpm.time", "not checked", "tpm.hmac"),
        ],
    );
}

#[test]
fn a_tpm_that_is_not_stable() {
    let tpm = Swtpm::builder().start().unwrap();
    // A signature of other bytes: TPM_ALG_HMAC, TPM_ALG_SHA256.
    through(
        &tpm,
        "TPM2_Sign is another key's",
        |command, _| match command {
            cc::SIGN => {
                let answer = format!(
                    "8002 00000037 00000000 00000024 0005000b {} 0000010000",
                    "11".repeat(32)
                );
                Action::Instead(hex::decode(answer.replace(' ', "")).unwrap())
            }
            _ => Action::Pass,
        },
        &[("tpm.hmac", "wrong", "TPM2_HMAC and TPM2_Sign differ")],
    );

    // The second root key is another TPM's.
    let other = Swtpm::builder().start().unwrap();
    let response = other.send(&create_root()).unwrap();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let middle = Middle::before(&tpm, move |command, _| match command {
        cc::CREATE_PRIMARY if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 => {
            Action::Instead(response.clone())
        }
        _ => Action::Pass,
    });
    let plain = "bus = \"plain\"\n";
    let report = configured(plain, Some(&middle.tcti()));
    let honest = Middle::before(&tpm, |_, _| Action::Pass);
    report.assert_changes(
        &configured(plain, Some(&honest.tcti())),
        "another Name",
        &[
            // Each configuration is another file.
            ("callout.config", "ok", "config.toml"),
            ("tpm.device", "note", "is a software TPM"),
            ("tpm.root", "wrong", "no key from this TPM is stable"),
            ("tpm.hmac", "not checked", "tpm.root"),
        ],
    );
}

/// TPM2_CreatePrimary of the root key.
fn create_root() -> Vec<u8> {
    let command = [
        "8002 00000000 00000131 40000001 00000009 40000009 0000 00 0000",
        "0004 0000 0000",
        "0023 0008 000b 00040472 0000 0005 000b",
        "0013 74706d2d646572697665642d6b657973207631",
        "0000 00000000",
    ];
    let mut command = hex::decode(command.concat().replace(' ', "")).unwrap();
    let length = u32::try_from(command.len()).unwrap();
    command[2..6].copy_from_slice(&length.to_be_bytes());
    command
}

#[test]
fn what_the_owner_has_done() {
    let mut tpm = Swtpm::builder().start().unwrap();
    let before = doctor(&tpm.tcti());
    let is = |tpm: &Swtpm, what: &str, expected: &[Change<'_>]| {
        doctor(&tpm.tcti()).assert_changes(&before, what, expected);
        assert_no_handles(tpm);
    };
    let root = &ANSWERS[5..];

    tpm.set_max_tries(0).unwrap();
    is(&tpm, "lockout", &[("tpm.lockout", "note", "harmless here")]);
    tpm.set_max_tries(3).unwrap();
    is(&tpm, "lockout is over", &[]);

    tpm.disable_owner_hierarchy().unwrap();
    let mut expected = depend(root, "tpm.hierarchy");
    expected.push(("tpm.hierarchy", "wrong", "the owner hierarchy is off"));
    is(&tpm, "hierarchy", &expected);
    tpm.restart().unwrap();
    is(&tpm, "a restart", &[]);

    tpm.set_owner_auth(b"secret").unwrap();
    let mut expected = depend(root, "tpm.owner-auth");
    expected.push(("tpm.owner-auth", "wrong", "has a password"));
    is(&tpm, "owner", &expected);
}

#[test]
fn root_keys_that_were_left() {
    let tpm = Swtpm::builder().start().unwrap();
    let before = doctor(&tpm.tcti());
    for count in 1..=3 {
        let response = tpm.send(&create_root()).unwrap();
        assert_eq!(response[6..10], [0; 4], "{response:02x?}");
        let seen = (0..count).map(|number| format!("0x8000000{number}"));
        let seen = seen.collect::<Vec<_>>().join(", ");
        let mut expected = vec![("tpm.leftovers", "warning", seen.as_str())];
        // Only root knows what may be flushed when there is no slot left.
        let now = doctor(&tpm.tcti());
        if now.line("tpm.root").status != "ok" {
            assert_eq!(count, 3);
            expected.push(("tpm.root", "wrong", "TPM_RC_OBJECT_MEMORY"));
            let others = ["tpm.conversation", "tpm.enrolment", "tpm.hmac", "tpm.time"];
            expected.extend(depend(&others, "tpm.root"));
        }
        now.assert_changes(&before, &seen, &expected);
    }
}

#[test]
fn a_tpm_that_does_not_answer() {
    let before = doctor(&Swtpm::builder().start().unwrap().tcti());
    let changes = |seen| {
        let mut expected = depend(&ANSWERS[1..], "tpm.answer");
        expected.push(("tpm.answer", "wrong", seen));
        expected.push(("tpm.device", "note", "is a software TPM"));
        expected
    };
    let version_1 = hex::decode("00c40000000a0000001e").unwrap();
    for (action, seen) in [
        (Action::Close, "closed the connection"),
        (Action::Raw(version_1), "TPM_RC_BAD_TAG"),
        (Action::Answer(0x100), "TPM_RC_INITIALIZE"),
    ] {
        let middle = Middle::alone(action);
        doctor(&middle.tcti()).assert_changes(&before, seen, &changes(seen));
    }

    if !is_root() {
        not_run("tdk doctor with a configuration (only root's is believed)");
        return;
    }
    let middle = Middle::alone(Action::Silence);
    let config = format!("tcti = \"{}\"\ndeadline_seconds = 1\n", middle.tcti());
    let seen = "TPM2_GetCapability: the TPM has not answered within 1 s";
    let mut expected = changes(seen);
    expected.push(("callout.config", "ok", "1 s, no realm"));
    configured(&config, None).assert_changes(&before, seen, &expected);
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status")
        .unwrap()
        .contains("\nUid:\t0\t0\t")
}

#[test]
fn what_is_called_wrongly() {
    let text = stderr(&run_tdk(&["doctor", "--tcti", "swtpm"]), 2);
    assert!(text.contains("TCTI 'swtpm': write"), "{text}");
    stderr(&run_tdk(&["doctor", "--xml"]), 2);
}
