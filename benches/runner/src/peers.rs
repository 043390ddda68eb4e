// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a derived key is compared with, and the TPMs that all of them use.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use tdk_simulator::Swtpm;
use tdk_tests::{programs, project};

use crate::{Result, timing};

/// Who asks, and so whose key it is, in whole processes.
pub(crate) const ASKER: &str = "/usr/bin/keyctl";
pub(crate) const KEY_ID: &str = "bench";

/// A software TPM that keeps a storage key where the TCG wants one.
pub(crate) fn tpm_with_storage_key() -> Result<Swtpm> {
    let tpm = Swtpm::builder().start()?;
    let directory = tempfile::tempdir()?;
    let context = directory.path().join("srk");
    tool(&tpm, "tpm2_createprimary")
        .args(["-Q", "-C", "o", "-G", "ecc", "-a"])
        .arg("fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt")
        .arg("-c")
        .arg(&context)
        .run()?;
    tool(&tpm, "tpm2_evictcontrol")
        .args(["-Q", "-C", "o", "0x81000001", "-c"])
        .arg(&context)
        .run()?;
    tool(&tpm, "tpm2_flushcontext").arg("-t").run()?;
    Ok(tpm)
}

/// A program of tpm2-tools, or one that runs them.
pub(crate) fn tool(tpm: &Swtpm, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env("TPM2TOOLS_TCTI", tpm.tcti());
    command
}

/// Commands that only have to succeed.
pub(crate) trait Run {
    fn run(&mut self) -> Result<()>;
}

impl Run for Command {
    fn run(&mut self) -> Result<()> {
        timing::process(self).map(|_| ())
    }
}

/// One of `benches/peers`.
pub(crate) fn peer(name: &str) -> PathBuf {
    project().join("benches/peers").join(name)
}

/// Whether a program of the system is there.
pub(crate) fn is_installed(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| {
        env::split_paths(&path).any(|directory| directory.join(program).is_file())
    })
}

/// Whether Debian's Python has tpm2-pytss.
pub(crate) fn has_pytss() -> bool {
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", "import tpm2_pytss"]);
    timing::process(&mut python).is_ok()
}

/// `tdk derive` of the key that all of them derive.
pub(crate) fn derive(tcti: &str, bus: &Path) -> Command {
    let mut tdk = programs::tdk();
    tdk.arg("--config")
        .arg(bus)
        .args(["derive", "--tcti", tcti]);
    tdk.args(["--what", "32", "--identity", "path", "--value", ASKER]);
    tdk.args(["--uid", "0"]);
    tdk
}

/// The callout that does nothing, built as the real one: static and optimised.
pub(crate) fn noop() -> Result<PathBuf> {
    let version = Command::new("rustc").arg("-vV").output()?;
    let version = String::from_utf8(version.stdout)?;
    let target = version.lines().find_map(|line| line.strip_prefix("host: "));
    let target = target.ok_or("rustc names no host")?;
    Command::new("cargo")
        .current_dir(project())
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--package", "tdk-noop", "--target", target, "--config"])
        .arg(format!(
            "target.{target}.rustflags=['-Ctarget-feature=+crt-static']"
        ))
        .run()?;
    let built = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let noop = project().join(built).join(target).join("release/tdk-noop");
    Ok(noop)
}
