// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program `tdk-sim swtpm`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::common::{exists, files};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// A running `tdk-sim swtpm`, with a directory of its own for temporary files.
struct TdkSim {
    child: Child,
    tcti: String,
    swtpm: Pid,
    temporary: TempDir,
}

impl TdkSim {
    fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().expect("a directory");
        let mut child = Command::new(env!("CARGO_BIN_EXE_tdk-sim"))
            .arg("swtpm")
            .args(arguments)
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tdk-sim");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe"))
            .read_line(&mut line)
            .expect("a line");
        let tcti = line.strip_suffix('\n').expect("a whole line").to_owned();
        let swtpm = child_of(child.id());
        Self {
            child,
            tcti,
            swtpm,
            temporary,
        }
    }

    /// Waits for the end of the program and returns its status, what else it
    /// wrote to its standard output, and its standard error.
    fn end(mut self) -> (ExitStatus, String, String) {
        let status = self.child.wait().expect("a status");
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let pipe = self.child.stdout.as_mut().expect("a pipe");
        pipe.read_to_string(&mut stdout).expect("text");
        let pipe = self.child.stderr.as_mut().expect("a pipe");
        pipe.read_to_string(&mut stderr).expect("text");
        assert!(!exists(self.swtpm.as_raw_nonzero().get().unsigned_abs()));
        assert!(files(self.temporary.path()).is_empty());
        (status, stdout, stderr)
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }
}

/// The only child of a process.
fn child_of(parent: u32) -> Pid {
    let processes = fs::read_dir("/proc").expect("/proc");
    let mut children = processes.filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // pid (name) state ppid
        let (_, rest) = stat.rsplit_once(") ")?;
        (rest.split(' ').nth(1)? == parent.to_string()).then(|| Pid::from_raw(pid))?
    });
    let child = children.next().expect("a child");
    assert_eq!(children.next(), None, "one child");
    child
}

#[test]
fn runs_until_a_signal() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let sim = TdkSim::start(&[]);
        let temporary = sim.temporary.path().to_owned();
        let socket = sim.tcti.strip_prefix("swtpm:path=").expect("a path");
        assert!(Path::new(socket).starts_with(&temporary), "{socket}");
        assert!(Path::new(socket).exists());
        sim.signal(signal);
        let (status, stdout, stderr) = sim.end();
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert_eq!(stdout, "", "only the TCTI string is written");
        assert_eq!(stderr, "stop with Ctrl-C\n");
    }
}

#[test]
fn keeps_a_state() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().join("tpm");
    let argument = state.to_str().expect("UTF-8");
    for _ in 0..2 {
        let sim = TdkSim::start(&["--state", argument]);
        assert_eq!(sim.tcti, format!("swtpm:path={argument}/sock"));
        sim.signal(Signal::TERM);
        let (status, _, stderr) = sim.end();
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert_eq!(files(&state), [".lock", "tpm2-00.permall"]);
    }
}

#[test]
fn tcp_without_startup() {
    let sim = TdkSim::start(&["--tcp", "--no-startup"]);
    assert!(sim.tcti.starts_with("swtpm:host=127.0.0.1,port="));
    let command = fs::read(format!("/proc/{}/cmdline", sim.swtpm)).expect("a command line");
    assert!(command.ends_with(b"\0--flags\0not-need-init\0"));
    sim.signal(Signal::TERM);
    assert_eq!(sim.end().0.code(), Some(0));
}

#[test]
fn ends_when_swtpm_does() {
    let sim = TdkSim::start(&[]);
    rustix::process::kill_process(sim.swtpm, Signal::KILL).expect("killed");
    let (status, _, stderr) = sim.end();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("swtpm ended by itself"), "{stderr}");
    assert!(stderr.contains("signal: 9"), "{stderr}");
}

#[test]
fn without_swtpm() {
    let output = Command::new(env!("CARGO_BIN_EXE_tdk-sim"))
        .arg("swtpm")
        .env("PATH", "/nonexistent")
        .output()
        .expect("tdk-sim");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "tdk-sim: swtpm is not installed: apt-get install swtpm\n"
    );
}
