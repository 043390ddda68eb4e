// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk-sim swtpm`: one software TPM for as long as it is wanted.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tdk_simulator::{Endpoint, Swtpm};

use super::source;

/// What `tdk-sim swtpm` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Keep the TPM's state in this directory, which is made if missing.
    /// Without it the state is temporary.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Listen on a free TCP port of 127.0.0.1 instead of a Unix socket.
    #[arg(long)]
    tcp: bool,

    /// Leave the TPM's startup to others: without it, the TPM refuses commands.
    #[arg(long)]
    no_startup: bool,
}

/// Runs a TPM until a signal comes (no error) or the TPM ends (an error).
pub(crate) fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    // Before the start, so that none is missed. With SIGCHLD a dead swtpm is
    // noticed at once.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCHLD])?;

    let mut tpm = Swtpm::builder()
        .state(source(arguments.state)?)
        .endpoint(if arguments.tcp {
            Endpoint::Tcp
        } else {
            Endpoint::Unix
        })
        .startup(!arguments.no_startup)
        // A Ctrl-C is for this process, which then stops the TPM in order.
        .own_process_group(true)
        .start()?;

    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", tpm.tcti())?;
    stdout.flush()?;
    eprintln!("stop with Ctrl-C");

    for signal in signals.forever() {
        if signal != SIGCHLD {
            break;
        }
        tpm.check()?;
    }
    tpm.stop()?;
    Ok(())
}
