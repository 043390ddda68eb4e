// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One run of a machine, from its start to its end.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::channel::Channel;
use super::disk::Disk;
use super::tpm::GuestTpm;
use super::{GuestError, Line, Stream, TpmModel};
use crate::process::Process;

/// How often QEMU is looked after while it is silent.
const INTERVAL: Duration = Duration::from_millis(20);

/// What QEMU is given.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) qemu: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: &'a [u8],
    pub(crate) memory: u32,
    pub(crate) disks: &'a [Disk],
    pub(crate) arguments: &'a str,
    /// The console is the caller's terminal.
    pub(crate) terminal: bool,
    pub(crate) model: TpmModel,
    /// When the machine is to switch itself off, should nobody be left to do it.
    pub(crate) give_up: Option<Duration>,
}

/// A machine that runs.
#[derive(Debug)]
pub struct Machine {
    // In the order in which they are dropped.
    qemu: Process,
    tpm: Option<GuestTpm>,
    channels: Vec<Channel>,
    mark: String,
    _directory: tempfile::TempDir,
}

/// What is left of one.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) status: i32,
    pub(crate) tpm: Option<GuestTpm>,
    pub(crate) streams: Vec<(Stream, Vec<u8>)>,
}

impl Machine {
    /// Switches a machine on.
    pub(crate) fn start(
        setup: &Setup<'_>,
        directory: tempfile::TempDir,
        tpm: Option<GuestTpm>,
    ) -> Result<Self, GuestError> {
        let mark = random()?;
        let initramfs = directory.path().join("initramfs");
        fs::write(&initramfs, setup.initramfs).map_err(GuestError::path("writing", &initramfs))?;

        let mut channels = Vec::new();
        for stream in Stream::REPORTS {
            channels.push(Channel::listen(directory.path(), stream, &mark)?);
        }
        if !setup.terminal {
            channels.push(Channel::listen(directory.path(), Stream::Console, "")?);
        }

        let discard = if setup.disks.iter().any(Disk::is_kept) {
            ""
        } else {
            "tdk.discard "
        };
        let give_up = setup.give_up.map_or_else(String::new, |limit| {
            format!("tdk.give_up={} ", limit.as_secs())
        });
        let mut command = Command::new(&setup.qemu);
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            // KVM may be there and not work. Kernel 6.12 crashes on QEMU 7.2's
            // cmpxchg16b.
            .args(["-no-reboot", "-accel", "tcg", "-cpu", "max,-cx16"])
            .args(["-M", "pc", "-m", &setup.memory.to_string()])
            .arg("-kernel")
            .arg(&setup.kernel)
            .arg("-initrd")
            .arg(&initramfs)
            .arg("-append")
            // On a busy machine the emulated timer is late, which the kernel would
            // take for a broken one, and panic.
            .arg(format!(
                "console=ttyS0 panic=-1 quiet no_timer_check tdk.mark={mark} {discard}{give_up}{}",
                setup.arguments
            ))
            .args(ports(&channels, setup.terminal));
        for (number, disk) in setup.disks.iter().enumerate() {
            command.args(disk.options(number));
        }
        if let Some(tpm) = &tpm {
            command.args(tpm.options(setup.model));
        }
        let qemu = if setup.terminal {
            Process::spawn_in_terminal(command)?
        } else {
            command.stdin(Stdio::null());
            Process::spawn_command(command, Vec::new())?
        };
        Ok(Self {
            qemu,
            tpm,
            channels,
            mark,
            _directory: directory,
        })
    }

    /// Stays with it until it has switched itself off.
    pub(crate) fn run(
        mut self,
        limit: Duration,
        mut watch: impl FnMut(&Machine, Line<'_>),
    ) -> Result<Remains, GuestError> {
        let deadline = Instant::now() + limit;
        let mut told = false;
        loop {
            self.wait_for_news()?;
            // First: what it wrote before it ended is there.
            let ended = self.qemu.wait(Duration::ZERO);
            let ended = ended.map_err(GuestError::io("looking after QEMU"))?;
            self.pump(&mut watch)?;
            if !told && self.has_reported() {
                // It may be off already.
                let _ = self.say(&format!("{}\n", self.mark));
                told = true;
            }
            if let Some(status) = ended {
                return self.remains(status);
            }
            if Instant::now() >= deadline {
                return Err(GuestError::TimeLimit {
                    limit,
                    during: self.phase(),
                    console: self.console(),
                });
            }
        }
    }

    /// Sends a line (or several, or a part of one) to the script's standard
    /// input.
    ///
    /// # Errors
    ///
    /// When the machine is gone, or does not read.
    pub fn say(&self, text: &str) -> io::Result<()> {
        self.channel(Stream::Stdout).send(text)
    }

    /// Makes the TPM hang, until [`Machine::resume_tpm`].
    ///
    /// # Errors
    ///
    /// When there is none (any more).
    pub fn halt_tpm(&self) -> io::Result<()> {
        self.signal_tpm(Signal::STOP)
    }

    /// Ends what [`Machine::halt_tpm`] began.
    ///
    /// # Errors
    ///
    /// When there is none (any more).
    pub fn resume_tpm(&self) -> io::Result<()> {
        self.signal_tpm(Signal::CONT)
    }

    fn signal_tpm(&self, signal: Signal) -> io::Result<()> {
        match &self.tpm {
            Some(tpm) => tpm.process().signal(signal),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn wait_for_news(&self) -> Result<(), GuestError> {
        let mut fds: Vec<_> = self
            .channels
            .iter()
            .filter_map(Channel::fd)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let interval = Timespec::try_from(INTERVAL).expect("it is short");
        match poll(&mut fds, Some(&interval)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(GuestError::io("waiting for the guest")(error.into())),
        }
    }

    fn pump(&mut self, watch: &mut impl FnMut(&Machine, Line<'_>)) -> Result<(), GuestError> {
        for index in 0..self.channels.len() {
            let channel = &mut self.channels[index];
            channel
                .pump()
                .map_err(GuestError::io("reading what the guest writes"))?;
            let stream = channel.stream;
            while let Some(bytes) = self.channels[index].line() {
                let bytes = &bytes;
                watch(self, Line { stream, bytes });
            }
        }
        Ok(())
    }

    fn channel(&self, stream: Stream) -> &Channel {
        let channel = self
            .channels
            .iter()
            .find(|channel| channel.stream == stream);
        channel.expect("all but the console are always there")
    }

    /// Those that the guest's first process uses.
    fn reports(&self) -> impl Iterator<Item = &Channel> {
        let is_report = |channel: &&Channel| channel.stream != Stream::Console;
        self.channels.iter().filter(is_report)
    }

    fn has_reported(&self) -> bool {
        self.reports().all(|channel| channel.status().is_some())
    }

    fn phase(&self) -> &'static str {
        if self.has_reported() {
            "when the script had ended, but the machine did not switch itself off"
        } else if self.reports().all(Channel::has_begun) {
            "while the script ran"
        } else {
            "before the script began"
        }
    }

    fn console(&self) -> String {
        let console = self.channels.iter().find(|c| c.stream == Stream::Console);
        let console = console.map(|c| String::from_utf8_lossy(c.content()).into_owned());
        console.unwrap_or_default() + &self.qemu.stderr()
    }

    fn remains(self, status: ExitStatus) -> Result<Remains, GuestError> {
        let reported = self.channel(Stream::Stdout).status();
        match reported {
            Some(reported) if status.success() && self.has_reported() => Ok(Remains {
                status: reported,
                tpm: self.tpm,
                streams: self
                    .channels
                    .iter()
                    .map(|channel| (channel.stream, channel.content().to_vec()))
                    .collect(),
            }),
            _ => {
                let console = self.console();
                let panic = console.lines().find(|line| line.contains("Kernel panic"));
                let how = match panic {
                    Some(line) => line.trim().to_owned(),
                    None if status.success() => {
                        format!("it switched itself off {}", self.phase())
                    }
                    None => format!("QEMU failed ({status}) {}", self.phase()),
                };
                Err(GuestError::Died { how, console })
            }
        }
    }
}

/// QEMU's options for what connects a guest and its host.
fn ports(channels: &[Channel], terminal: bool) -> Vec<String> {
    let mut options = vec!["-device".into(), "virtio-serial-pci".into()];
    for channel in channels {
        let name = channel.stream.name();
        let path = comma(channel.path());
        options.extend(["-chardev".into(), format!("socket,id={name},path={path}")]);
        options.extend(match channel.stream {
            Stream::Console => ["-serial".into(), format!("chardev:{name}")],
            _ => [
                "-device".into(),
                format!("virtserialport,chardev={name},name={name}"),
            ],
        });
    }
    if terminal {
        options.extend(["-chardev", "stdio,id=console,signal=off"].map(Into::into));
        options.extend(["-serial", "chardev:console"].map(Into::into));
    }
    options
}

/// A path as a value in QEMU's options.
pub(crate) fn comma(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// A word that nobody writes by chance.
fn random() -> Result<String, GuestError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(GuestError::path("reading", source))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
