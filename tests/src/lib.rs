// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the end-to-end tests share: the programs as they are shipped, the
//! oracle, a software TPM with somebody in the middle, and a live kernel.
//!
//! How to run one test: `CONTRIBUTING.md`.
#![forbid(unsafe_code)]
// This crate is for tests only.
#![allow(clippy::unwrap_used, clippy::missing_errors_doc)]

pub mod abrmd;
pub mod backend;
pub mod doctor;
pub mod golden;
pub mod guest;
pub mod impostors;
pub mod live;
pub mod malformed;
pub mod memory;
pub mod middle;
pub mod mssim;
pub mod oracle;
pub mod owner;
pub mod programs;
pub mod queue;
pub mod random;
pub mod rules;
pub mod storm;
pub mod transcript;

use std::path::{Path, PathBuf};
use std::sync::Once;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The directory that the project is in.
pub fn project() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ is in the project").into()
}

/// Fails if an object or a session is loaded in the TPM.
pub fn assert_no_handles(tpm: &tdk_simulator::Swtpm) {
    let handles = tpm.transient_handles().unwrap();
    assert!(handles.is_empty(), "left in the TPM: {handles:x?}");
    let sessions = tpm.session_handles().unwrap();
    assert!(sessions.is_empty(), "left in the TPM: {sessions:x?}");
}

/// Has this process open as many files as it may, 1,024 of which are usual: a program's tests
/// run in one process, and what they start ends with it.
pub fn open_many_files() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = getrlimit(Resource::Nofile);
        let most = Rlimit {
            current: limit.maximum,
            ..limit
        };
        setrlimit(Resource::Nofile, most).unwrap();
    });
}

/// Says that something can't be tested on this machine; with `CI=true` it is an
/// error.
pub fn not_run(what: &str) {
    use std::io::Write;
    assert_ne!(
        std::env::var("CI").as_deref(),
        Ok("true"),
        "not run: {what}"
    );
    // Past what the test runner captures.
    let _ = writeln!(std::io::stderr(), "\nnot run: {what}");
}
