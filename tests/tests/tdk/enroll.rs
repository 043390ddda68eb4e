// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk enroll`, and what comes of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tdk_simulator::Swtpm;
use tdk_tests::doctor::Report;
use tdk_tests::middle::{Action, Middle, cc};
use tdk_tests::programs::run_tdk;
use tdk_tests::{assert_no_handles, oracle};

/// A machine with a TPM, a configuration and a place for the enrolment.
struct Machine {
    tpm: Swtpm,
    directory: tempfile::TempDir,
}

impl Machine {
    fn new(more: &str) -> Self {
        let machine = Self {
            tpm: Swtpm::builder().start().unwrap(),
            directory: tempfile::tempdir().unwrap(),
        };
        machine.configure(more);
        machine
    }

    fn configure(&self, more: &str) {
        self.configure_at(&self.tpm.tcti(), more);
    }

    fn configure_at(&self, tcti: &str, more: &str) {
        let text = format!(
            "tcti = \"{tcti}\"\nenrolment = \"{}\"\n{more}",
            self.enrolment().display()
        );
        fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    fn enrolment(&self) -> PathBuf {
        self.directory.path().join("lib/root.json")
    }

    fn tdk(&self, arguments: &[&str]) -> Output {
        let config = self.config();
        run_tdk(&[arguments, &["--config", config.to_str().unwrap()]].concat())
    }

    fn derive(&self) -> Output {
        let key = [
            "--what",
            "32",
            "--identity",
            "id",
            "--uid",
            "0",
            "--key-id",
            "x",
        ];
        self.tdk(&[&["derive"], &key[..]].concat())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.enrolment()).unwrap()).unwrap()
    }

    fn doctor(&self) -> Report {
        Report::parse(&stdout(&self.tdk(&["doctor", "--json"])))
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn assert_done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    stdout(output)
}

#[test]
fn a_tpm_is_enrolled_once() {
    let machine = Machine::new("");
    let status = |id: &str| machine.doctor().line(id).status.clone();
    assert_eq!(
        (status("tpm.enrolment"), status("tpm.conversation")),
        ("note".into(), "note".into())
    );
    let text = assert_done(&machine.tdk(&["enroll"]));
    let json = machine.json();
    let root = oracle::root(&machine.tpm.tcti());
    assert_eq!(json["root_name"], root);
    let srk = json["srk_name"].as_str().unwrap();
    let path = machine.enrolment();
    let path = path.display();
    let expected = format!("root_name = \"{root}\"\nsrk_name = \"{srk}\"\nenrolled in {path}\n");
    assert_eq!(text, expected);
    assert_eq!(
        fs::metadata(machine.enrolment()).unwrap().mode() & 0o7777,
        0o644
    );
    assert_eq!(
        (status("tpm.enrolment"), status("tpm.conversation")),
        ("ok".into(), "ok".into())
    );

    let before = fs::metadata(machine.enrolment()).unwrap().ino();
    assert_eq!(assert_done(&machine.tdk(&["enroll"])), "enrolled already\n");
    assert_eq!(fs::metadata(machine.enrolment()).unwrap().ino(), before);
    assert_done(&machine.derive());
    assert_no_handles(&machine.tpm);
}

#[test]
fn a_tpm_that_was_cleared() {
    let machine = Machine::new("");
    assert_done(&machine.tdk(&["enroll"]));
    let before = machine.json();
    machine.tpm.clear_owner().unwrap();

    let refused = machine.derive();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("owner hierarchy was cleared"),
        "{refused:?}"
    );
    assert!(refused.stdout.is_empty());
    let line = machine.doctor().line("tpm.conversation").clone();
    assert_eq!(line.status, "wrong", "{line:?}");
    // What it is can still be looked at.
    assert_ne!(
        assert_done(&machine.tdk(&["root"])).trim(),
        before["root_name"]
    );

    let refused = machine.tdk(&["enroll"]);
    assert_eq!(refused.status.code(), Some(1));
    let message = stderr(&refused);
    for part in ["another TPM is enrolled", "are gone", "--force"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(machine.json(), before);
    let forced = machine.tdk(&["enroll", "--force"]);
    assert_done(&forced);
    assert!(stderr(&forced).contains("are gone"), "{forced:?}");
    assert_ne!(machine.json(), before);
    assert_done(&machine.derive());
    assert_no_handles(&machine.tpm);
}

#[test]
fn without_a_protected_conversation_the_root_key_is_known_still() {
    let machine = Machine::new("bus = \"plain\"\n");
    let output = machine.tdk(&["enroll"]);
    assert_done(&output);
    assert!(stderr(&output).contains("none is recorded"), "{output:?}");
    assert!(machine.json()["srk_name"].is_null());
    assert_eq!(machine.doctor().line("tpm.conversation").status, "warning");
    assert_done(&machine.derive());

    machine.configure("");
    assert_done(&machine.derive());
    // What was not known is added.
    assert_done(&machine.tdk(&["enroll"]));
    assert!(machine.json()["srk_name"].is_string());

    machine.configure("bus = \"plain\"\n");
    machine.tpm.clear_owner().unwrap();
    let refused = machine.derive();
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("root key is"), "{refused:?}");
    assert_eq!(machine.doctor().line("tpm.enrolment").status, "wrong");
}

#[test]
fn for_machines_without_a_disk() {
    let machine = Machine::new("");
    let config = assert_done(&machine.tdk(&["enroll", "--print", "config"]));
    let words = assert_done(&machine.tdk(&["enroll", "--print", "cmdline"]));
    assert!(!machine.enrolment().exists());
    let root = oracle::root(&machine.tpm.tcti());
    assert!(
        config.starts_with(&format!("root_name = \"{root}\"\nsrk_name = \"000b")),
        "{config}"
    );
    assert!(
        words.starts_with(&format!("tdk.root_name={root} tdk.srk_name=000b")),
        "{words}"
    );

    machine.configure(&config);
    assert_done(&machine.derive());
    assert_eq!(machine.doctor().line("tpm.enrolment").status, "ok");
    machine.tpm.clear_owner().unwrap();
    assert_eq!(machine.derive().status.code(), Some(1));
    // The file can't say otherwise.
    let contradicting = machine.tdk(&["enroll"]);
    assert_eq!(contradicting.status.code(), Some(1));
    assert!(
        stderr(&contradicting).contains("elsewhere"),
        "{contradicting:?}"
    );
}

/// As the page says.
#[test]
fn a_storage_key_that_is_kept_in_the_tpm() {
    let machine = Machine::new("");
    let page = include_str!("../../../docs/enrolment.md");
    let (_, commands) = page.split_once("\ntpm2_createprimary ").unwrap();
    let (commands, _) = commands.split_once("```").unwrap();
    let made = Command::new("sh")
        .args(["-ec", &format!("tpm2_createprimary {commands}")])
        .env("TPM2TOOLS_TCTI", machine.tpm.tcti())
        .current_dir(machine.directory.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    for handle in machine.tpm.transient_handles().unwrap() {
        flush(&machine.tpm, handle);
    }
    assert_done(&machine.tdk(&["enroll"]));
    assert_eq!(machine.doctor().line("tpm.conversation").status, "ok");

    let middle = Middle::before(&machine.tpm, |_, _| Action::Pass);
    machine.configure_at(&middle.tcti(), "");
    assert_done(&machine.derive());
    // The root key is the only one that is made.
    let made = middle
        .seen()
        .into_iter()
        .filter(|code| *code == cc::CREATE_PRIMARY);
    assert_eq!(made.count(), 1);
    assert_no_handles(&machine.tpm);
}

/// TPM2_FlushContext: without a resource manager, tpm2-tools leave their objects.
fn flush(tpm: &Swtpm, handle: u32) {
    let header = [0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x65];
    tpm.send(&[&header[..], &handle.to_be_bytes()].concat())
        .unwrap();
}

#[test]
fn enrolments_that_are_not_believed() {
    let machine = Machine::new("");
    assert_done(&machine.tdk(&["enroll"]));
    fs::set_permissions(machine.enrolment(), Permissions::from_mode(0o666)).unwrap();
    let refused = machine.derive();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("others than root could have written it"),
        "{refused:?}"
    );
    assert_eq!(machine.doctor().line("tpm.enrolment").status, "wrong");

    fs::set_permissions(machine.enrolment(), Permissions::from_mode(0o644)).unwrap();
    fs::write(machine.enrolment(), "{}").unwrap();
    let refused = machine.derive();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("root.json: missing field `root_name`"),
        "{refused:?}"
    );
    assert_done(&machine.tdk(&["enroll", "--force"]));
    assert_done(&machine.derive());
}

#[test]
fn another_tpm_than_the_configured_one() {
    let machine = Machine::new("");
    let other = Swtpm::builder().start().unwrap();
    assert_done(&machine.tdk(&["enroll"]));
    let usage = machine.tdk(&["enroll", "--tcti", &other.tcti()]);
    assert_eq!(usage.status.code(), Some(2));
    let root = assert_done(&machine.tdk(&["root", "--tcti", &other.tcti()]));
    let printed = machine.tdk(&["enroll", "--print", "config", "--tcti", &other.tcti()]);
    assert!(assert_done(&printed).contains(root.trim()));
}
