// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Starting and stopping swtpm.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::address::{Address, Endpoint};
use crate::error::SimError;
use crate::process::Launch;
use crate::runner::{self, Runner, Running};
use crate::state::{Lock, State, StateSource};
use crate::wire;

/// How long a start and how long a command may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How long an orderly shutdown is waited for, if another connection is open.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

/// How a [`Swtpm`] is to be started. Made by [`Swtpm::builder`].
#[derive(Debug)]
#[must_use = "nothing runs before start()"]
pub struct SwtpmBuilder {
    state: StateSource,
    endpoint: Endpoint,
    launch: Launch,
}

impl SwtpmBuilder {
    /// Where the state comes from. Default: [`StateSource::Fresh`].
    pub fn state(mut self, state: StateSource) -> Self {
        self.state = state;
        self
    }

    /// What kind of socket the TPM listens on. Default: [`Endpoint::Unix`].
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// Whether the TPM is started up, with `TPM2_Startup(TPM_SU_CLEAR)`, as
    /// firmware does it. If not, it answers `TPM_RC_INITIALIZE` (0x100) until
    /// somebody does. Default: `true`.
    pub fn startup(mut self, startup: bool) -> Self {
        self.launch.startup = startup;
        self
    }

    /// The program to run. Default: `swtpm`, looked up in `PATH`.
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.launch.program = program.into();
        self
    }

    /// Who runs swtpm, instead of [`program`](Self::program) in a process: it
    /// listens on TCP ports then. Default: nobody.
    pub fn runner(mut self, runner: impl Runner + 'static) -> Self {
        self.launch.runner = Some(Box::new(runner));
        self.endpoint = Endpoint::Tcp;
        self
    }

    /// Whether the process gets a process group of its own, so that a Ctrl-C
    /// in the terminal reaches only the caller, who then has to stop the TPM.
    /// Default: `false`.
    pub fn own_process_group(mut self, own: bool) -> Self {
        self.launch.own_group = own;
        self
    }

    /// How long a start and how long each command may take. Default: 10 s.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.launch.limit = limit;
        self
    }

    /// Starts the TPM and waits until it answers commands.
    ///
    /// # Errors
    ///
    /// [`SimError::NotInstalled`], [`SimError::Exited`] or
    /// [`SimError::NotReady`] if the program does not come up;
    /// [`SimError::BadPath`], [`SimError::NoState`], [`SimError::StateInUse`]
    /// or [`SimError::Io`] if the state cannot be used.
    pub fn start(self) -> Result<Swtpm, SimError> {
        let state = self.state.prepare()?;
        let lock = Lock::take(state.dir())?;
        let address = Address::new(self.endpoint, state.dir())?;
        let process = runner::start(&self.launch, state.dir(), &address)?;
        Ok(Swtpm {
            process,
            address,
            launch: self.launch,
            _lock: lock,
            state,
        })
    }
}

/// A running software TPM.
///
/// Dropping it ends the process, as a loss of power would, and removes its
/// sockets and its temporary directory.
#[derive(Debug)]
pub struct Swtpm {
    // In the order in which they are dropped: the process first.
    process: Box<dyn Running>,
    address: Address,
    launch: Launch,
    _lock: Lock,
    state: State,
}

impl Swtpm {
    /// A TPM with a fresh state on a Unix socket, if nothing else is asked
    /// for.
    pub fn builder() -> SwtpmBuilder {
        SwtpmBuilder {
            state: StateSource::default(),
            endpoint: Endpoint::default(),
            launch: Launch {
                program: "swtpm".into(),
                runner: None,
                startup: true,
                own_group: false,
                limit: TIME_LIMIT,
            },
        }
    }

    /// What to give to a TSS as its TCTI: `swtpm:path=/absolute/sock` or
    /// `swtpm:host=127.0.0.1,port=N`.
    pub fn tcti(&self) -> String {
        self.address.tcti()
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The directory the state is in.
    pub fn state_dir(&self) -> &Path {
        self.state.dir()
    }

    /// What the process wrote to its standard output and error so far, since
    /// the last start.
    pub fn stderr(&self) -> String {
        self.process.said()
    }

    /// Looks whether the process still runs.
    ///
    /// # Errors
    ///
    /// [`SimError::Exited`] if it ended by itself.
    pub fn check(&mut self) -> Result<(), SimError> {
        self.process.check()
    }

    /// Sends one command as it is, on a connection of its own, and returns
    /// the response, whatever its response code is.
    ///
    /// # Errors
    ///
    /// [`SimError::NoAnswer`] if the time is over, or [`SimError::Io`].
    pub fn send(&self, command: &[u8]) -> Result<Vec<u8>, SimError> {
        self.address.send(command, self.launch.limit)
    }

    /// Copies the state to the directory `dest`, while the TPM runs: the copy
    /// has the effects of all commands that were answered, as if the TPM had
    /// lost its power now. It replaces a state that is in `dest`; a missing
    /// directory is made, for its owner only.
    ///
    /// # Errors
    ///
    /// [`SimError::StateInUse`] if a TPM runs on the state in `dest`, or
    /// [`SimError::Io`].
    pub fn save(&self, dest: impl AsRef<Path>) -> Result<State, SimError> {
        self.state.save(dest)
    }

    /// Stops the TPM as an operating system does, with `TPM2_Shutdown`, and
    /// ends the process: by `SIGTERM`, and `SIGKILL` two seconds later.
    ///
    /// # Errors
    ///
    /// [`SimError::Exited`] if the process had ended by itself, or
    /// [`SimError::Io`].
    pub fn stop(mut self) -> Result<State, SimError> {
        self.process.check()?;
        self.shut_down()?;
        Ok(self.state)
    }

    /// Stops the TPM and starts it with the same state at the same address,
    /// as when the machine is rebooted. A process that ended by itself is
    /// started again.
    ///
    /// # Errors
    ///
    /// As for [`SwtpmBuilder::start`]. The TPM is stopped then, and may be
    /// restarted.
    pub fn restart(&mut self) -> Result<(), SimError> {
        self.shut_down()?;
        self.process = runner::start(&self.launch, self.state.dir(), &self.address)?;
        Ok(())
    }

    fn shut_down(&mut self) -> Result<(), SimError> {
        // Without it the next start is that of a TPM that lost its power,
        // which may count as a wrong password. A TPM that does not answer has
        // lost its power.
        let limit = self.launch.limit.min(SHUTDOWN_LIMIT);
        let _ = self.address.send(&wire::shutdown(), limit);
        self.process
            .end()
            .map_err(SimError::io("ending the TPM's process"))?;
        Ok(())
    }
}
