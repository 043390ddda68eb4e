// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Starting, stopping and restarting a TPM, and what can go wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{self, code, create_primary, exists, files, primary_name, program, start};
use rustix::process::{Pid, Signal};
use tdk_simulator::{Endpoint, SimError, StateSource, Swtpm};

#[test]
fn stop_leaves_no_process_and_no_file() {
    let tpm = start();
    let (pid, dir) = (tpm.pid(), tpm.state_dir().to_owned());
    assert!(exists(pid));
    let mode = dir.metadata().expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    let state = tpm.stop().expect("stopped");
    assert!(!exists(pid));
    assert_eq!(files(&dir), [".lock", "tpm2-00.permall"]);
    drop(state);
    assert!(!dir.exists());
}

#[test]
fn drop_leaves_no_process_and_no_file() {
    let tpm = start();
    let (pid, dir) = (tpm.pid(), tpm.state_dir().to_owned());
    drop(tpm);
    assert!(!exists(pid));
    assert!(!dir.exists());
}

#[test]
fn unix_address() {
    let tpm = start();
    let socket = tpm.state_dir().join("sock");
    assert!(socket.is_absolute());
    assert_eq!(tpm.tcti(), format!("swtpm:path={}", socket.display()));
    assert!(socket.with_extension("ctrl").exists());
}

#[test]
fn tcp() {
    let mut tpm = Swtpm::builder()
        .endpoint(Endpoint::Tcp)
        .start()
        .expect("a TPM");
    let tcti = tpm.tcti();
    assert!(tcti.starts_with("swtpm:host=127.0.0.1,port="), "{tcti}");
    assert_eq!(files(tpm.state_dir()), [".lock", "tpm2-00.permall"]);
    let name = primary_name(&tpm, b"");
    tpm.restart().expect("restarted");
    assert_eq!(tpm.tcti(), tcti);
    assert_eq!(primary_name(&tpm, b""), name);
    let pid = tpm.pid();
    tpm.stop().expect("stopped");
    assert!(!exists(pid));
}

#[test]
fn many_at_once() {
    for endpoint in [Endpoint::Unix, Endpoint::Tcp] {
        let start = || Swtpm::builder().endpoint(endpoint).start().expect("a TPM");
        let tpms: Vec<_> = (0..4).map(|_| start()).collect();
        let mut names: Vec<_> = tpms.iter().map(|tpm| primary_name(tpm, b"")).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 4, "fresh TPMs have seeds of their own");
    }
}

#[test]
fn restart_keeps_the_tpm_and_its_address() {
    let mut tpm = start();
    let (pid, tcti, name) = (tpm.pid(), tpm.tcti(), primary_name(&tpm, b""));
    assert_eq!(tpm.transient_handles().expect("handles").len(), 1);
    for _ in 0..3 {
        tpm.restart().expect("restarted");
        assert!(!exists(pid));
        assert_ne!(tpm.pid(), pid);
        assert_eq!(tpm.tcti(), tcti);
        assert!(tpm.transient_handles().expect("handles").is_empty());
        assert_eq!(primary_name(&tpm, b""), name);
    }
}

/// `TPMA_STARTUP_CLEAR`, bit 31: the last shutdown was in order.
#[test]
fn restart_is_orderly() {
    let mut tpm = start();
    let orderly = |tpm: &Swtpm| common::property(tpm, common::PT_STARTUP_CLEAR) >> 31;
    kill(&tpm);
    tpm.restart().expect("restarted");
    assert_eq!(orderly(&tpm), 0);
    tpm.restart().expect("restarted");
    assert_eq!(orderly(&tpm), 1);
}

#[test]
fn a_dead_tpm_is_noticed_and_can_be_restarted() {
    let mut tpm = start();
    let name = primary_name(&tpm, b"");
    tpm.check().expect("it runs");
    kill(&tpm);
    let dead = wait_for(|| tpm.check().err());
    assert!(matches!(dead, SimError::Exited { .. }), "{dead}");
    let error = tpm.send(&[0; 10]).expect_err("dead");
    assert!(matches!(error, SimError::Io { .. }), "{error}");

    tpm.restart().expect("restarted");
    assert_eq!(primary_name(&tpm, b""), name);

    kill(&tpm);
    wait_for(|| tpm.check().err());
    let dir = tpm.state_dir().to_owned();
    let error = tpm.stop().expect_err("dead");
    assert!(matches!(error, SimError::Exited { .. }), "{error}");
    assert!(!dir.exists());
}

#[test]
fn without_startup() {
    let tpm = Swtpm::builder().startup(false).start().expect("a TPM");
    let error = tpm.transient_handles().expect_err("not started up");
    assert_eq!(common::refusal(&error), 0x100, "{error}");
    let startup = common::bytes("8001 0000000c 00000144 0000");
    assert_eq!(code(&tpm.send(&startup).expect("a response")), 0);
    assert!(tpm.transient_handles().expect("handles").is_empty());
}

#[test]
fn transient_handles() {
    let tpm = start();
    let handles = || tpm.transient_handles().expect("handles");
    assert!(handles().is_empty());
    create_primary(&tpm, b"");
    create_primary(&tpm, b"");
    assert_eq!(handles(), [0x8000_0000, 0x8000_0001]);
    common::flush(&tpm, 0x8000_0000);
    assert_eq!(handles(), [0x8000_0001]);
}

#[test]
fn a_connection_that_is_kept_open_is_no_trap() {
    let tpm = Swtpm::builder()
        .time_limit(Duration::from_secs(1))
        .start()
        .expect("a TPM");
    let (pid, dir) = (tpm.pid(), tpm.state_dir().to_owned());
    let socket = dir.join("sock");
    let _open = std::os::unix::net::UnixStream::connect(socket).expect("a connection");
    let error = tpm.send(&[0; 10]).expect_err("no answer");
    assert!(matches!(error, SimError::NoAnswer { .. }), "{error}");
    tpm.stop().expect("stopped all the same");
    assert!(!exists(pid));
    assert!(!dir.exists());
}

#[test]
fn missing_program() {
    let start = |program: &str| Swtpm::builder().program(program).start();
    let error = start("/nonexistent/swtpm").expect_err("missing");
    assert!(matches!(error, SimError::NotInstalled { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("/nonexistent/swtpm"), "{text}");
    assert!(text.contains("apt-get install swtpm"), "{text}");
}

#[test]
fn a_program_that_ends_at_once() {
    let error = Swtpm::builder()
        .program(program("fails"))
        .start()
        .expect_err("it fails");
    let text = error.to_string();
    let SimError::Exited { status, stderr, .. } = error else {
        panic!("{text}");
    };
    assert_eq!(status.code(), Some(3));
    assert_eq!(stderr, "the reason why\n");
    assert!(text.contains("the reason why"), "{text}");
    assert!(text.contains("exit status: 3"), "{text}");
}

#[test]
fn a_program_that_is_no_tpm() {
    let start = Instant::now();
    // Not so short that the program has no time to set up its trap.
    let limit = Duration::from_secs(1);
    let error = Swtpm::builder()
        .program(program("never-ready"))
        .time_limit(limit)
        .start()
        .expect_err("it is none");
    let text = error.to_string();
    assert!(matches!(error, SimError::NotReady { .. }), "{text}");
    assert!(text.contains("not ready yet"), "{text}");
    // It does not heed SIGTERM, and is killed two seconds later.
    assert!(start.elapsed() >= limit + Duration::from_secs(2));
}

#[test]
fn a_state_that_is_none() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("tpm2-00.permall"), [7; 2000]).expect("a file");
    let error = Swtpm::builder()
        .state(StateSource::InPlace(dir.path().to_owned()))
        .start()
        .expect_err("not a state");
    assert!(matches!(error, SimError::Exited { .. }), "{error}");
    assert!(error.to_string().contains("libtpms"), "{error}");
    assert_eq!(files(dir.path()), [".lock", "tpm2-00.permall"]);
}

#[test]
fn directories_that_cannot_be_used() {
    let start = |dir: &Path| {
        Swtpm::builder()
            .state(StateSource::InPlace(dir.to_owned()))
            .start()
            .expect_err("no TPM there")
    };
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("missing");
    let error = start(&missing);
    assert!(matches!(error, SimError::Io { .. }), "{error}");
    assert!(error.to_string().contains("missing"), "{error}");

    for (name, why) in [("a,b", "comma"), (&*"x".repeat(100), "107 bytes")] {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).expect("a directory");
        let error = start(&path);
        assert!(matches!(error, SimError::BadPath { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(files(&path).is_empty());
    }
}

fn kill(tpm: &Swtpm) {
    let pid = tpm.pid().try_into().ok().and_then(Pid::from_raw);
    rustix::process::kill_process(pid.expect("a process id"), Signal::KILL).expect("killed");
}

/// What `look` finds, within ten seconds.
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it does not happen");
}
