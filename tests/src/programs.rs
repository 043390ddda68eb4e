// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The programs under test, built as they are shipped.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::project;

/// `target/dist`, with everything in it built from what is there now.
fn dist() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let status = Command::new(project().join("scripts/build.sh"))
                .arg("--quiet")
                .status()
                .unwrap();
            assert!(status.success(), "scripts/build.sh failed");
            project().join("target/dist")
        })
        .clone()
}

/// The callout, `key.tpm2_derived`.
pub fn callout() -> PathBuf {
    dist().join("key.tpm2_derived")
}

/// The callout with an error in it: it panics instead of serving.
pub fn panicking_callout() -> PathBuf {
    example("tdk-request-key", "panicking")
}

/// The callout with an error in it: it leaves a copy of each payload in its memory,
/// and ends as other programs do.
pub fn forgetful_callout() -> PathBuf {
    example("tdk-request-key", "forgetful")
}

/// The callout, but for what it does in the end: it ends as other programs do.
pub fn unwiped_callout() -> PathBuf {
    example("tdk-request-key", "unwiped")
}

/// The callout taken over: it tries what it should not be able to do.
pub fn taken_over_callout() -> PathBuf {
    example("tdk-request-key", "prisoner")
}

/// The program with a key of its own that the client's documents show.
pub fn mac() -> PathBuf {
    example("tdk-client", "mac")
}

/// One of many askers, which [`crate::storm`] starts.
pub fn asker() -> PathBuf {
    example("tdk-client", "asker")
}

fn example(package: &str, name: &str) -> PathBuf {
    let target = project().join("target");
    let status = Command::new("cargo")
        .current_dir(project())
        .args(["build", "--quiet", "--package", package])
        .args(["--example", name, "--target-dir"])
        .arg(&target)
        .status()
        .unwrap();
    assert!(status.success());
    target.join("debug/examples").join(name)
}

/// `tdk-sim`.
pub fn tdk_sim() -> PathBuf {
    dist().join("tdk-sim")
}

/// The operator's command.
pub fn tdk() -> Command {
    let mut command = Command::new(tdk_file());
    // Set for tests, not for users.
    command.env_remove("TSS2_LOG");
    command
}

/// The file that it is.
pub fn tdk_file() -> PathBuf {
    dist().join("tdk")
}

/// Runs `tdk` with the given arguments.
pub fn run_tdk(arguments: &[&str]) -> Output {
    tdk().args(arguments).output().unwrap()
}

/// Runs a program of the system.
pub fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

/// Standard output of a command that has to succeed, without its last newline.
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim_end_matches('\n')
        .to_owned()
}

/// Standard error of a command that has to fail with the given status, and to
/// print nothing else.
pub fn stderr(output: &Output, status: i32) -> String {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}
