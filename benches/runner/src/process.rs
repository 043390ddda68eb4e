// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One key, from the start of a process to its end: what nothing but a TPM and a
//! command line takes, without the kernel's keys.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tdk_simulator::Swtpm;
use tdk_tests::programs;

use crate::Result;
use crate::peers::{self, ASKER, KEY_ID, Run as _};
use crate::run::Run;
use crate::timing::{self, Contender};

pub(crate) const SECTION: &str = "process";
pub(crate) const PLAIN: &str = "tdk derive, plain";
pub(crate) const ENCRYPTED: &str = "tdk derive, encrypted";
pub(crate) const NONE_KEPT: &str = "tdk derive, encrypted, no storage key kept";
pub(crate) const TOOLS: &str = "tpm2-tools and openssl";
pub(crate) const PYTHON: &str = "Python, tpm2-pytss";
pub(crate) const UNSEAL: &str = "tpm2_load and tpm2_unseal";
pub(crate) const CLEVIS: &str = "clevis decrypt";

/// What others take to start, and no more.
pub(crate) const START: &str = "start";
pub(crate) const TRUE: &str = "true";
pub(crate) const CALLOUT: &str = "the callout, --version";
pub(crate) const PYTHON_START: &str = "Python, import tpm2_pytss";
pub(crate) const TOOLS_START: &str = "tpm2-tools and openssl, --version each";

/// As many processes as the pipeline has.
const PIPELINE: &str = "tpm2_createprimary --version; tpm2_hmac --version; \
    tpm2_flushcontext --version; openssl version; openssl version; mktemp --version; \
    od --version; tr --version; rm --version";

pub(crate) fn measure(run: &mut Run) -> Result<()> {
    let kept = peers::tpm_with_storage_key()?;
    let bare = Swtpm::builder().start()?;
    let directory = tempfile::tempdir()?;
    let plain = directory.path().join("plain.toml");
    let encrypted = directory.path().join("encrypted.toml");
    fs::write(&plain, "bus = \"plain\"\n")?;
    fs::write(&encrypted, "")?;

    let derive = |tpm: &Swtpm, config: &Path| {
        let mut command = peers::derive(&tpm.tcti(), config);
        command.args(["--key-id", KEY_ID]);
        command
    };
    let printed = timing::process(&mut derive(&kept, &encrypted))?.1.stdout;
    let expected = hex::decode(printed.trim_ascii())?;
    let ours = |name, tpm, config| {
        Contender::new(name, move || {
            Ok(timing::process(&mut derive(tpm, config))?.0)
        })
    };
    let mut contenders = vec![
        ours(PLAIN, &kept, &plain),
        ours(ENCRYPTED, &kept, &encrypted),
        ours(NONE_KEPT, &bare, &encrypted),
    ];
    let mut starts = vec![
        start(TRUE, || Command::new("true")),
        start(CALLOUT, || {
            let mut callout = Command::new(programs::callout());
            callout.arg("--version");
            callout
        }),
    ];
    if peers::is_installed("tpm2_createprimary") {
        contenders.push(Contender::new(TOOLS, || {
            let mut command = Command::new(peers::peer("tpm2-tools.sh"));
            command.args(["derive", &kept.tcti(), ASKER, "0", KEY_ID]);
            let (took, output) = timing::process(&mut command)?;
            same(took, &output.stdout, &expected)
        }));
        let sealed = seal(&kept, directory.path())?;
        let kept = &kept;
        contenders.push(Contender::new(UNSEAL, move || {
            let (took, output) = timing::process(&mut unseal(kept, &sealed))?;
            same(took, &output.stdout, SECRET)
        }));
        starts.push(start(TOOLS_START, || {
            let mut command = Command::new("sh");
            command.args(["-c", PIPELINE]);
            command
        }));
    } else {
        run.leave_out("tpm2-tools", "tpm2_createprimary is not installed")?;
    }
    if peers::has_pytss() {
        contenders.push(Contender::new(PYTHON, || {
            let mut command = Command::new(peers::peer("plugin.py"));
            command.args(["derive", &kept.tcti(), ASKER, "0", KEY_ID]);
            let (took, output) = timing::process(&mut command)?;
            same(took, &hex::decode(output.stdout.trim_ascii())?, &expected)
        }));
        starts.push(start(PYTHON_START, || {
            let mut command = Command::new("/usr/bin/python3");
            command.args(["-c", "import tpm2_pytss"]);
            command
        }));
    } else {
        run.leave_out("the Python plugin", "tpm2-pytss is not installed")?;
    }
    if peers::is_installed("clevis-decrypt-tpm2") {
        let sealed = directory.path().join("clevis");
        let mut encrypt = peers::tool(&kept, "sh");
        let script = "printf %s \"$1\" | clevis encrypt tpm2 '{}' >\"$2\"";
        encrypt.args(["-c", script, "sh", std::str::from_utf8(SECRET)?]);
        encrypt.arg(&sealed).run()?;
        let kept = &kept;
        contenders.push(Contender::new(CLEVIS, move || {
            let mut command = peers::tool(kept, "sh");
            command.args(["-c", "exec clevis decrypt <\"$1\"", "sh"]);
            let (took, output) = timing::process(command.arg(&sealed))?;
            same(took, &output.stdout, SECRET)
        }));
    } else {
        run.leave_out("clevis", "clevis-tpm2 is not installed")?;
    }
    timing::by_turns(run, SECTION, run.size.of(40, 10, 1), contenders)?;
    timing::by_turns(run, START, run.size.of(40, 10, 1), starts)
}

fn start<'a>(name: &str, command: impl Fn() -> Command + 'a) -> Contender<'a> {
    Contender::new(name, move || Ok(timing::process(&mut command())?.0))
}

/// A time counts only if it was the right key.
fn same(took: Duration, key: &[u8], expected: &[u8]) -> Result<Duration> {
    if key != expected {
        return Err("another key than expected".into());
    }
    Ok(took)
}

/// What is sealed: as long as a key.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Seals it under the storage key.
fn seal(tpm: &Swtpm, directory: &Path) -> Result<String> {
    let script =
        "printf %s \"$1\" | tpm2_create -Q -C 0x81000001 -i - -u \"$2.pub\" -r \"$2.priv\"";
    let sealed = directory.join("sealed").display().to_string();
    peers::tool(tpm, "sh")
        .args(["-c", script, "sh", std::str::from_utf8(SECRET)?, &sealed])
        .run()?;
    Ok(sealed)
}

fn unseal(tpm: &Swtpm, sealed: &str) -> Command {
    let script = "tpm2_load -Q -C 0x81000001 -u \"$1.pub\" -r \"$1.priv\" -c \"$1.ctx\" && \
                  tpm2_unseal -c \"$1.ctx\" && tpm2_flushcontext -t";
    let mut command = peers::tool(tpm, "sh");
    command.args(["-c", script, "sh", sealed]);
    command
}
