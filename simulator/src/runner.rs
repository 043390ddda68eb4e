// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where swtpm runs: in a process that this crate starts, or where a [`Runner`] has it.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::error::SimError;
use crate::process::{INTERVAL, Launch, Process};
use crate::wire;

/// What swtpm is to be started with.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The directory with its state, which nobody else uses meanwhile.
    pub state: &'a Path,
    /// The port of 127.0.0.1 for TPM commands. Like the next one it is bound, so that
    /// nobody else takes it, by a socket that does not listen: who listens there has to
    /// set `SO_REUSEADDR`.
    pub data: u16,
    /// The port of 127.0.0.1 for the control channel: the next one.
    pub control: u16,
    /// Whether the TPM is to be started up, with `TPM2_Startup(TPM_SU_CLEAR)`.
    pub startup: bool,
}

/// Who runs swtpm, if not this crate: see [`SwtpmBuilder::runner`].
///
/// [`SwtpmBuilder::runner`]: crate::SwtpmBuilder::runner
pub trait Runner: Debug + Send + Sync {
    /// Starts swtpm there. It need not answer yet when this returns.
    ///
    /// # Errors
    ///
    /// Whatever there is to say; nothing is left running then.
    fn start(&self, place: &Place<'_>) -> Result<Box<dyn Running>, SimError>;
}

/// A swtpm that was started. Dropping it ends it, as a loss of power would.
pub trait Running: Debug + Send + Sync {
    /// What it is, for errors.
    fn program(&self) -> PathBuf;

    /// The id of the process.
    fn pid(&self) -> u32;

    /// What it wrote to its standard output and error so far.
    fn said(&self) -> String;

    /// Looks whether it still runs.
    ///
    /// # Errors
    ///
    /// [`SimError::Exited`] if it ended by itself.
    fn check(&mut self) -> Result<(), SimError>;

    /// Ends it, by force if need be. Both ports are free when this returns.
    ///
    /// # Errors
    ///
    /// Why it could not be ended.
    fn end(&mut self) -> io::Result<()>;
}

/// Starts swtpm on the state in `dir`, and waits until it answers commands.
pub(crate) fn start(
    launch: &Launch,
    dir: &Path,
    address: &Address,
) -> Result<Box<dyn Running>, SimError> {
    let mut running = match (&launch.runner, address) {
        (None, _) => Box::new(Process::start(launch, dir, address)?),
        (Some(runner), Address::Tcp(ports)) => runner.start(&Place {
            state: dir,
            data: ports.data(),
            control: ports.control(),
            startup: launch.startup,
        })?,
        (Some(_), Address::Unix { .. }) => {
            let unix = io::Error::new(io::ErrorKind::Unsupported, "it has to be TCP");
            return Err(SimError::io("choosing a socket for another's swtpm")(unix));
        }
    };
    wait_ready(&mut *running, address, launch.limit)?;
    Ok(running)
}

/// Ready means: a command gets a response, if only one that says that the TPM
/// wants a `TPM2_Startup` first.
fn wait_ready(
    running: &mut dyn Running,
    address: &Address,
    limit: Duration,
) -> Result<(), SimError> {
    let deadline = Instant::now() + limit;
    let probe = wire::get_handles(wire::TRANSIENT_FIRST);
    loop {
        running.check()?;
        if address.exchange(&probe, deadline).is_ok() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(SimError::NotReady {
                program: running.program(),
                limit,
                stderr: running.said(),
            });
        }
        thread::sleep(INTERVAL);
    }
}
