// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whole machines: a stock kernel under QEMU's emulation, with a software TPM
//! as its TPM device and a file system made of what is installed here, or a
//! Debian with systemd on a disk.
//!
//! A guest lives as long as the script in it. Switching it on again with the
//! same TPM state is a reboot.
//!
//! ```no_run
//! use tdk_simulator::guest::{Guest, Kernel};
//! use tdk_simulator::StateSource;
//!
//! let run = Guest::builder()
//!     .kernel(Kernel::V6_12)
//!     .script("ls /dev/tpm*")
//!     .run()?;
//! assert_eq!(run.stdout, b"/dev/tpm0\n/dev/tpmrm0\n");
//!
//! // A reboot.
//! let state = StateSource::Resume(run.state.expect("there is a TPM"));
//! let run = Guest::builder().state(state).script("exit 3").run()?;
//! assert_eq!(run.status, 3);
//! # Ok::<(), tdk_simulator::guest::GuestError>(())
//! ```
//!
//! A machine is in the process group of its caller, so that a Ctrl-C in the
//! terminal ends both. If the caller is killed, it switches itself off a little
//! after its time.
//!
//! A script that fails is a [`Run`] with another status than 0; a machine that
//! fails is a [`GuestError`].

mod channel;
mod cpio;
mod disk;
mod error;
mod initramfs;
mod kernel;
mod machine;
mod tpm;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::state::{State, StateSource};
use initramfs::{Content, GuestFile};
use machine::Setup;
use tpm::GuestTpm;

pub use disk::System;
pub use error::GuestError;
pub use kernel::Kernel;
pub use machine::Machine;

const QEMU: &str = "qemu-system-x86_64";

/// How much longer a guest lives whose host has forgotten it.
const GIVE_UP: Duration = Duration::from_secs(10);

/// What a TPM is to the machine it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TpmModel {
    /// On the LPC bus, as a discrete chip.
    #[default]
    Tis,
    /// A region of memory, as firmware's.
    Crb,
}

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The machine's console.
    Console,
    /// The script's standard output.
    Stdout,
    /// The script's standard error.
    Stderr,
    /// The kernel's log, at the end.
    KernelLog,
    /// systemd's journal, at the end.
    Journal,
}

impl Stream {
    /// Those that a guest reports on.
    const REPORTS: [Self; 4] = [Self::Stdout, Self::Stderr, Self::KernelLog, Self::Journal];

    /// As its port is called.
    fn name(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Stdout => "out",
            Self::Stderr => "err",
            Self::KernelLog => "log",
            Self::Journal => "journal",
        }
    }
}

/// A line from a guest.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Where it comes from.
    pub stream: Stream,
    /// What it is, with its newline if it has one.
    pub bytes: &'a [u8],
}

impl Line<'_> {
    /// The line as text, without what ends it.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes.trim_ascii_end())
    }
}

/// A script that ran to its end.
#[derive(Debug)]
pub struct Run {
    /// The script's exit status.
    pub status: i32,
    /// The script's standard output.
    pub stdout: Vec<u8>,
    /// The script's standard error.
    pub stderr: Vec<u8>,
    /// The kernel's log, each line as `<PRIORITY>[TIME] TEXT`.
    pub kernel_log: String,
    /// systemd's journal, of a system that has one.
    pub journal: String,
    /// The machine's console.
    pub console: String,
    /// The TPM's state, if the machine had a TPM.
    pub state: Option<State>,
    /// From switching on to switching off.
    pub duration: Duration,
}

impl Run {
    /// The kernel's log from the script's beginning on.
    pub fn kernel_log_of_script(&self) -> &str {
        let beginning = "tdk: the script begins\n";
        let log = self.kernel_log.as_str();
        log.split_once(beginning).map_or(log, |(_, rest)| rest)
    }
}

/// A machine that is switched on by [`GuestBuilder::run`].
#[derive(Debug)]
pub struct Guest;

impl Guest {
    /// A guest with kernel 6.12 and a newly made TPM, if nothing else is said.
    pub fn builder<'a>() -> GuestBuilder<'a> {
        GuestBuilder {
            kernel: Kernel::default(),
            tpm: Some(TpmModel::default()),
            old_tpm: false,
            state: StateSource::default(),
            content: Content::default(),
            root: None,
            disks: Vec::new(),
            memory: 512,
            arguments: String::new(),
            limit: None,
            watch: None,
        }
    }

    /// Looks whether all is there that a guest with this kernel needs.
    ///
    /// # Errors
    ///
    /// [`GuestError::NotInstalled`] or [`GuestError::NoKernel`].
    pub fn check(kernel: &Kernel) -> Result<(), GuestError> {
        initramfs::find(QEMU, "qemu-system-x86")?;
        initramfs::find("swtpm", "swtpm")?;
        Content::default().archive(kernel)?;
        kernel.image().map(drop)
    }
}

type Watch<'a> = Box<dyn FnMut(&Machine, Line<'_>) + 'a>;

/// What a guest is to be. Made by [`Guest::builder`].
#[must_use = "nothing runs before run()"]
pub struct GuestBuilder<'a> {
    kernel: Kernel,
    tpm: Option<TpmModel>,
    old_tpm: bool,
    state: StateSource,
    content: Content,
    root: Option<PathBuf>,
    disks: Vec<PathBuf>,
    memory: u32,
    arguments: String,
    limit: Option<Duration>,
    watch: Option<Watch<'a>>,
}

impl<'a> GuestBuilder<'a> {
    /// The kernel. Default: [`Kernel::V6_12`].
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// What runs in the machine. Default: [`System::Initramfs`].
    pub fn system(mut self, system: System) -> Self {
        self.content.system = system;
        self
    }

    /// Keeps what becomes of a system on a disk: this file is the disk, and is
    /// made if it is not there. Otherwise the system is at each start as it was
    /// made.
    pub fn root(mut self, image: impl Into<PathBuf>) -> Self {
        self.root = Some(image.into());
        self
    }

    /// Adds a disk, which is this file. It is `/dev/vda` if the system is not on
    /// a disk, otherwise `/dev/vdb`; the next are the next letters.
    pub fn disk(mut self, image: impl Into<PathBuf>) -> Self {
        self.disks.push(image.into());
        self
    }

    /// What kind of TPM the machine has. Default: [`TpmModel::Tis`].
    pub fn tpm(mut self, model: TpmModel) -> Self {
        self.tpm = Some(model);
        self
    }

    /// Gives the machine a TPM 1.2, which is no TPM 2.0.
    pub fn tpm_1_2(mut self) -> Self {
        self.old_tpm = true;
        self
    }

    /// Leaves the machine without TPM.
    pub fn without_tpm(mut self) -> Self {
        self.tpm = None;
        self
    }

    /// Where the TPM's state comes from. Default: [`StateSource::Fresh`].
    pub fn state(mut self, state: StateSource) -> Self {
        self.state = state;
        self
    }

    /// Copies a file into the guest; if it is a program, with the shared
    /// libraries it needs.
    pub fn file(mut self, host: impl Into<PathBuf>, guest: impl Into<String>, mode: u32) -> Self {
        self.content.files.push(GuestFile {
            host: host.into(),
            guest: guest.into(),
            mode,
        });
        self
    }

    /// Writes a text file, readable by all, into the guest.
    pub fn text(mut self, guest: impl Into<String>, text: impl Into<String>) -> Self {
        self.content.texts.push((guest.into(), text.into()));
        self
    }

    /// Installs the callout, as `make install` does.
    pub fn callout(mut self, program: impl AsRef<Path>) -> Self {
        self.content.callout = Some(program.as_ref().into());
        self
    }

    /// Loads a kernel module, after those it needs.
    pub fn module(mut self, name: impl Into<String>) -> Self {
        self.content.modules.push(name.into());
        self
    }

    /// What root runs, with the system's shell; under systemd, when all units
    /// have been started that are to be.
    pub fn script(mut self, script: impl Into<String>) -> Self {
        self.content.script = Some(script.into());
        self
    }

    /// Adds to the kernel's command line.
    pub fn kernel_arguments(mut self, arguments: &str) -> Self {
        self.arguments.push_str(arguments);
        self.arguments.push(' ');
        self
    }

    /// How much memory the machine has, in MiB. Default: 512.
    pub fn memory(mut self, mib: u32) -> Self {
        self.memory = mib;
        self
    }

    /// How long the machine may run. Default: a minute, with systemd five.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Is shown each line as it comes, and may act on the machine.
    pub fn watch(mut self, watch: impl FnMut(&Machine, Line<'_>) + 'a) -> Self {
        self.watch = Some(Box::new(watch));
        self
    }

    /// Runs the script to its end.
    ///
    /// # Errors
    ///
    /// A [`GuestError`] if the machine could not be had, or did not run the
    /// script to its end.
    pub fn run(self) -> Result<Run, GuestError> {
        self.run_on(false)
    }

    /// Runs a shell on the caller's terminal, which is the machine's console,
    /// for as long as it is wanted. Its status is that of the shell.
    ///
    /// # Errors
    ///
    /// As for [`GuestBuilder::run`].
    pub fn run_shell(mut self) -> Result<Run, GuestError> {
        self.content.script = None;
        self.limit = Some(Duration::from_secs(u64::from(u32::MAX)));
        self.run_on(true)
    }

    fn run_on(mut self, terminal: bool) -> Result<Run, GuestError> {
        let qemu = initramfs::find(QEMU, "qemu-system-x86")?;
        let kernel = self.kernel.image()?;
        let disks = disk::disks(self.content.system, self.root, &self.disks)?;
        self.content.disks = !disks.is_empty();
        let initramfs = self.content.archive(&self.kernel)?;
        let directory = tempfile::Builder::new()
            .prefix("tdk-guest-")
            .tempdir()
            .map_err(GuestError::path(
                "making a directory in",
                &std::env::temp_dir(),
            ))?;
        let tpm = match self.tpm {
            Some(_) => Some(GuestTpm::start(self.state, directory.path(), self.old_tpm)?),
            None => None,
        };
        let arguments = format!("{}{}", self.content.system.arguments(), self.arguments);
        let limit = self.limit;
        let limit = limit.unwrap_or_else(|| self.content.system.time_limit());
        let setup = Setup {
            qemu,
            kernel,
            initramfs: &initramfs,
            memory: self.memory,
            disks: &disks,
            arguments: &arguments,
            terminal,
            model: self.tpm.unwrap_or_default(),
            give_up: (!terminal).then_some(limit + GIVE_UP),
        };
        let start = Instant::now();
        let machine = Machine::start(&setup, directory, tpm)?;
        let mut watch = self.watch.unwrap_or_else(|| Box::new(|_, _| ()));
        let mut remains = machine.run(limit, &mut watch)?;
        let duration = start.elapsed();
        let mut take = |wanted| {
            let streams = remains.streams.iter_mut();
            let found = streams.map(|(stream, bytes)| (*stream, bytes));
            let mut found = found.filter(|(stream, _)| *stream == wanted);
            let bytes = found.next().map(|(_, bytes)| std::mem::take(bytes));
            bytes.unwrap_or_default()
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Run {
            status: remains.status,
            stdout: take(Stream::Stdout),
            stderr: take(Stream::Stderr),
            kernel_log: text(take(Stream::KernelLog)),
            journal: text(take(Stream::Journal)),
            console: text(take(Stream::Console)),
            state: remains.tpm.map(GuestTpm::end).transpose()?,
            duration,
        })
    }
}

impl fmt::Debug for GuestBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestBuilder")
            .field("kernel", &self.kernel)
            .field("tpm", &self.tpm)
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}
