// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk-sim guest`: one virtual machine.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tdk_simulator::guest::{Guest, GuestBuilder, Kernel, Line, Stream, System, TpmModel};

use super::source;

/// When not the script failed but the machine did.
const MACHINE_FAILED: u8 = 125;

/// What `tdk-sim guest` can be told.
#[derive(Debug, clap::Args)]
#[command(after_help = "The exit status is the script's, or 125 if the machine failed.")]
pub(crate) struct Arguments {
    /// The kernel: 6.1 or 6.12, which scripts/kernels.sh fetches, or a directory
    /// with a vmlinuz and its modules.
    #[arg(long, default_value = "6.12")]
    kernel: Kernel,

    /// What runs in the machine: initramfs, which is busybox and keyutils, or
    /// debian, with systemd, which scripts/debian.sh makes.
    #[arg(long, default_value = "initramfs")]
    system: System,

    /// Keep what becomes of Debian in this file, which is made if missing. Without
    /// it all changes are forgotten.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,

    /// Add a disk, which is this file.
    #[arg(long, value_name = "FILE")]
    disk: Vec<PathBuf>,

    /// The machine's TPM.
    #[arg(long, default_value = "tis")]
    tpm: Tpm,

    /// Keep the TPM's state in this directory, which is made if missing.
    /// Without it the state is temporary.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Run this script as root.
    #[arg(long, value_name = "FILE", required_unless_present = "shell")]
    script: Option<PathBuf>,

    /// Run a shell on this terminal instead.
    #[arg(long, conflicts_with = "script")]
    shell: bool,

    /// Copy a file into the machine, with its mode and the libraries it needs.
    #[arg(long, value_name = "HOST:GUEST")]
    file: Vec<String>,

    /// Load a kernel module, after those it needs.
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,

    /// Install this callout. Without it, the one beside this program is taken,
    /// if there is one.
    #[arg(long, value_name = "FILE")]
    callout: Option<PathBuf>,

    /// How long the machine may run: 60 if nothing is said, with Debian 300.
    #[arg(long, value_name = "SECONDS", conflicts_with = "shell")]
    time_limit: Option<u64>,

    /// Show the console on standard error.
    #[arg(long, conflicts_with = "shell")]
    console: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Tpm {
    Tis,
    Crb,
    None,
}

/// Runs a machine to its end.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    match status(arguments) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(MACHINE_FAILED)),
        Err(error) => {
            eprintln!("tdk-sim: {error}");
            ExitCode::from(MACHINE_FAILED)
        }
    }
}

fn status(arguments: Arguments) -> Result<i32, Box<dyn Error>> {
    let console = arguments.console;
    let mut guest = Guest::builder()
        .kernel(arguments.kernel)
        .system(arguments.system)
        .watch(move |_, line| show(line, console));
    if let Some(seconds) = arguments.time_limit {
        guest = guest.time_limit(Duration::from_secs(seconds));
    }
    guest = match arguments.tpm {
        Tpm::Tis => guest.tpm(TpmModel::Tis),
        Tpm::Crb => guest.tpm(TpmModel::Crb),
        Tpm::None => guest.without_tpm(),
    };
    guest = guest.state(source(arguments.state)?);
    if let Some(root) = arguments.root {
        guest = guest.root(root);
    }
    for disk in arguments.disk {
        guest = guest.disk(disk);
    }
    for file in &arguments.file {
        guest = copy(guest, file)?;
    }
    for module in arguments.module {
        guest = guest.module(module);
    }
    if let Some(callout) = arguments.callout.or_else(callout_beside) {
        guest = guest.callout(callout);
    }
    let run = match arguments.script {
        Some(path) => {
            let script = fs::read_to_string(&path)
                .map_err(|error| format!("reading {}: {error}", path.display()))?;
            guest.script(script).run()?
        }
        None => guest.run_shell()?,
    };
    Ok(run.status)
}

/// Passes a line on to where it belongs.
fn show(line: Line<'_>, console: bool) {
    // Who has closed these doesn't want to know.
    let _ = match line.stream {
        Stream::Stdout => io::stdout().write_all(line.bytes),
        Stream::Stderr => io::stderr().write_all(line.bytes),
        Stream::Console if console => io::stderr().write_all(line.bytes),
        Stream::Console | Stream::KernelLog | Stream::Journal => Ok(()),
    };
}

fn copy<'a>(guest: GuestBuilder<'a>, file: &str) -> Result<GuestBuilder<'a>, String> {
    let bad = || format!("--file {file}: write HOST:GUEST, with a whole path in the guest");
    let (host, path) = file.split_once(':').ok_or_else(bad)?;
    if !path.starts_with('/') {
        return Err(bad());
    }
    let metadata = fs::metadata(host).map_err(|error| format!("reading {host}: {error}"))?;
    let mode = metadata.permissions().mode() & 0o7777;
    Ok(guest.file(host, path, mode))
}

/// The callout as scripts/build.sh puts it beside this program.
fn callout_beside() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let callout = Path::new(&program).with_file_name("key.tpm2_derived");
    callout.is_file().then_some(callout)
}
