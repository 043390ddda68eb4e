// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The owner's password: where `tdk` has it from; or the owner's policy.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use tdk_simulator::Swtpm;
use tdk_tests::doctor::Report;
use tdk_tests::middle::{Action, Middle};
use tdk_tests::programs::{run, stderr, stdout, tdk, tdk_file};
use tdk_tests::{assert_no_handles, oracle, owner};

const PASSWORD: &str = "correct horse battery staple";

/// A machine whose TPM has a password.
struct Machine {
    tpm: Swtpm,
    root: String,
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self::closed(|tpm| tpm.set_owner_auth(PASSWORD.as_bytes()).unwrap())
    }

    /// A machine whose TPM's owner hierarchy something opens.
    fn closed(close: impl Fn(&Swtpm)) -> Self {
        let tpm = Swtpm::builder().start().unwrap();
        let root = oracle::root(&tpm.tcti());
        close(&tpm);
        let directory = tempfile::tempdir().unwrap();
        let machine = Self {
            tpm,
            root,
            directory,
        };
        machine.configure("");
        machine
    }

    fn configure(&self, more: &str) {
        let enrolment = self.path("root.json");
        let text = format!(
            "tcti = \"{}\"\nenrolment = \"{}\"\n{more}",
            self.tpm.tcti(),
            enrolment.display()
        );
        fs::write(self.path("config.toml"), text).unwrap();
    }

    /// A file with that password, and the configuration's line for it.
    fn password(&self, name: &str, password: &str) -> (PathBuf, String) {
        let path = self.path(name);
        fs::write(&path, format!("{password}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let line = format!("owner_auth = \"{}\"\n", path.display());
        (path, line)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn tdk(&self) -> Command {
        let mut tdk = tdk();
        tdk.arg("--config").arg(self.path("config.toml"));
        tdk.env_remove("CREDENTIALS_DIRECTORY");
        tdk
    }

    fn root(&self, more: &[&str]) -> Output {
        self.tdk().arg("root").args(more).output().unwrap()
    }

    fn doctor(&self) -> Report {
        let output = self.tdk().args(["doctor", "--json"]).output().unwrap();
        Report::parse(std::str::from_utf8(&output.stdout).unwrap())
    }
}

#[test]
fn from_wherever_it_is() {
    let machine = Machine::new();
    let text = stderr(&machine.root(&[]), 1);
    assert!(
        text.contains("the owner hierarchy has a password"),
        "{text}"
    );

    let (path, line) = machine.password("named", PASSWORD);
    for backend in ["direct", "tss"] {
        let named = [
            "--owner-auth-file",
            path.to_str().unwrap(),
            "--backend",
            backend,
        ];
        assert_eq!(stdout(&machine.root(&named)), machine.root);
    }
    // A pipe, and another way to say where the TPM is.
    let script = "printf %s \"$1\" | \"$2\" root --tcti \"$3\" --owner-auth-file /dev/stdin";
    let tdk = tdk_file();
    let arguments = [
        script,
        "sh",
        PASSWORD,
        tdk.to_str().unwrap(),
        &machine.tpm.tcti(),
    ];
    let output = run("sh", &[&["-c"], &arguments[..]].concat());
    assert_eq!(stdout(&output), machine.root);

    machine.password("tdk.owner-auth", PASSWORD);
    // systemd's own may be read by a group as well.
    let credential = machine.path("tdk.owner-auth");
    fs::set_permissions(credential, Permissions::from_mode(0o440)).unwrap();
    let mut command = machine.tdk();
    command
        .arg("root")
        .env("CREDENTIALS_DIRECTORY", machine.directory.path());
    assert_eq!(stdout(&command.output().unwrap()), machine.root);

    machine.configure(&line);
    assert_eq!(stdout(&machine.root(&[])), machine.root);
    // It is the configured TPM's.
    let text = stderr(&machine.root(&["--tcti", &machine.tpm.tcti()]), 1);
    assert!(text.contains("--owner-auth-file"), "{text}");
    let enrolled = machine.tdk().arg("enroll").output().unwrap();
    assert_eq!(enrolled.status.code(), Some(0), "{enrolled:?}");
    let key = [
        "derive",
        "--what=32",
        "--identity=id",
        "--uid=0",
        "--key-id=x",
    ];
    let derived = machine.tdk().args(key).output().unwrap();
    assert_eq!(derived.status.code(), Some(0), "{derived:?}");
    assert_no_handles(&machine.tpm);
}

#[test]
fn from_whoever_is_at_the_terminal() {
    let machine = Machine::new();
    let terminal = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tdk/terminal.py");
    let config = machine.path("config.toml");
    let typed = |text: &str| {
        let mut command = Command::new("python3");
        command.env_remove("CREDENTIALS_DIRECTORY");
        command.args([terminal, text]).arg(tdk_file());
        command.arg("--config").arg(&config).arg("root");
        command.output().unwrap()
    };
    let output = typed(PASSWORD);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    let expected = format!("Password of the TPM's owner: \r\n{}\r\n", machine.root);
    assert_eq!(shown, expected);

    let output = typed("wrong");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    let refused = "the TPM refused the owner's password from the terminal";
    assert!(
        shown.contains(refused) && !shown.contains("wrong"),
        "{shown}"
    );
    let output = typed("");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_no_handles(&machine.tpm);
}

#[test]
fn files_that_are_not_used() {
    let machine = Machine::new();
    let (path, line) = machine.password("owner-auth", PASSWORD);
    machine.configure(&line);
    let say = || {
        let text = stderr(&machine.root(&[]), 1);
        assert!(!text.contains(PASSWORD), "{text}");
        let doctor = machine.doctor();
        assert_eq!(doctor.line("tpm.owner-auth").status, "wrong");
        text
    };
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    assert!(say().contains("others than root could have read it (mode 0640): chmod 600"));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "\n").unwrap();
    assert!(say().contains("it is empty"));
    fs::write(&path, "x".repeat(65)).unwrap();
    assert!(say().contains("longer than the 64 bytes"));
    fs::remove_file(&path).unwrap();
    assert!(say().contains("No such file"));
    machine.configure("owner_auth = \"owner-auth\"\n");
    let text = stderr(&machine.root(&[]), 1);
    assert!(text.contains("a path from the root is needed"), "{text}");
}

#[test]
fn what_doctor_says() {
    let machine = Machine::new();
    let status = |id: &str, status: &str, seen: &str| {
        let report = machine.doctor();
        let line = report.line(id);
        assert_eq!(line.status, status, "{line:?}");
        assert!(line.seen.contains(seen), "{line:?}");
    };
    status("tpm.owner-auth", "wrong", "the callout does not know it");
    status("tpm.root", "not checked", "tpm.owner-auth");
    let (path, line) = machine.password("owner-auth", PASSWORD);
    machine.configure(&line);
    let seen = format!("has a password, which is in {}", path.display());
    status("tpm.owner-auth", "ok", &seen);
    status("tpm.root", "ok", &machine.root);
    status("tpm.lockout", "ok", "(0 wrong passwords");

    machine.password("owner-auth", "wrong");
    status("tpm.owner-auth", "wrong", "refused the owner's password");
    status("tpm.root", "not checked", "tpm.owner-auth");
    status("tpm.lockout", "ok", "(0 wrong passwords");

    machine.tpm.clear_owner().unwrap();
    status("tpm.owner-auth", "wrong", "has no password, but");
    assert_no_handles(&machine.tpm);
}

#[test]
fn a_policy_of_pcrs() {
    let machine = Machine::closed(owner::close_by_policy);
    let text = stderr(&machine.root(&[]), 1);
    assert!(text.contains("owner_policy says which"), "{text}");
    for backend in ["direct", "tss"] {
        let named = ["--owner-policy", owner::PCRS, "--backend", backend];
        assert_eq!(stdout(&machine.root(&named)), machine.root);
    }
    let text = stderr(&machine.root(&["--owner-policy", "sha256:24"]), 2);
    assert!(text.contains("numbers from 0 to 23"), "{text}");
    let text = stderr(&machine.root(&["--owner-policy", "sha256:7"]), 1);
    assert!(
        text.contains("the TPM refused the policy sha256:7"),
        "{text}"
    );

    machine.configure(&format!("owner_policy = \"{}\"\n", owner::PCRS));
    assert_eq!(stdout(&machine.root(&[])), machine.root);
    let enrolled = machine.tdk().arg("enroll").output().unwrap();
    assert_eq!(enrolled.status.code(), Some(0), "{enrolled:?}");
    let line = |id: &str, status: &str, seen: &str| {
        let report = machine.doctor();
        let line = report.line(id);
        assert_eq!(line.status, status, "{line:?}");
        assert!(line.seen.contains(seen), "{line:?}");
    };
    line(
        "tpm.owner-auth",
        "ok",
        "is opened by the policy sha256:0,7+sha1:4",
    );
    line("tpm.root", "ok", &machine.root);
    owner::extend(&machine.tpm, 7);
    line("tpm.owner-auth", "wrong", "TPM_RC_POLICY_FAIL");
    line("tpm.root", "not checked", "tpm.owner-auth");
    assert_no_handles(&machine.tpm);
}

/// Root remembers which file it was that the TPM refused; others have no place to.
#[test]
fn a_file_is_tried_once() {
    let machine = Machine::new();
    let middle = Middle::before(&machine.tpm, |_, _| Action::Pass);
    let (path, line) = machine.password("owner-auth", "wrong");
    fs::write(
        machine.path("config.toml"),
        format!("tcti = \"{}\"\n{line}", middle.tcti()),
    )
    .unwrap();
    let text = stderr(&machine.root(&[]), 1);
    assert!(
        text.contains("the TPM refused the owner's password from"),
        "{text}"
    );
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let before = middle.seen();
    for _ in 0..3 {
        let text = stderr(&machine.root(&[]), 1);
        assert!(
            text.contains("has refused the owner's password from"),
            "{text}"
        );
    }
    assert_eq!(middle.seen(), before);
    // Another file is another chance, even with the same password.
    fs::write(&path, PASSWORD).unwrap();
    assert_eq!(stdout(&machine.root(&[])), machine.root);
}
