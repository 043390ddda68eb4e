// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One swtpm process, from its start to its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::address::{Address, option_value};
use crate::error::SimError;
use crate::runner::{Runner, Running};

/// How long swtpm may take to end by itself when it was told to.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// How often a process is asked whether it is ready, or gone.
pub(crate) const INTERVAL: Duration = Duration::from_millis(1);

/// How swtpm is started.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) runner: Option<Box<dyn Runner>>,
    pub(crate) startup: bool,
    pub(crate) own_group: bool,
    pub(crate) limit: Duration,
}

/// A process that is ended, reaped and tidied up after when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    program: PathBuf,
    /// Where the process writes its standard output and error. A file is never
    /// full, as a pipe may be; this one has no name that could be left behind.
    output: File,
    /// The sockets that the process leaves behind when it is killed.
    sockets: Vec<PathBuf>,
}

impl Process {
    /// Starts swtpm on the state in `dir`.
    pub(crate) fn start(launch: &Launch, dir: &Path, address: &Address) -> Result<Self, SimError> {
        let [server, control] = address.options();
        let mut command = Command::new(&launch.program);
        command
            .args(["socket", "--tpm2", "--tpmstate"])
            .arg(format!("dir={}", option_value(dir)?))
            .args(["--server", &server, "--ctrl", &control, "--flags"])
            .arg(if launch.startup {
                "not-need-init,startup-clear"
            } else {
                "not-need-init"
            })
            .stdin(Stdio::null());
        if launch.own_group {
            command.process_group(0);
        }
        Self::spawn_command(command, address.files())
    }

    /// Starts a program. What it writes is kept.
    pub(crate) fn spawn_command(
        mut command: Command,
        sockets: Vec<PathBuf>,
    ) -> Result<Self, SimError> {
        let output = output()?;
        command.stdout(copy(&output)?).stderr(copy(&output)?);
        Self::spawn_with(command, output, sockets)
    }

    /// Starts a program that talks to the caller's terminal. Only its standard
    /// error is kept.
    pub(crate) fn spawn_in_terminal(mut command: Command) -> Result<Self, SimError> {
        let output = output()?;
        command.stderr(copy(&output)?);
        Self::spawn_with(command, output, Vec::new())
    }

    fn spawn_with(
        mut command: Command,
        output: File,
        sockets: Vec<PathBuf>,
    ) -> Result<Self, SimError> {
        let program = PathBuf::from(command.get_program());
        // Somebody else's connection that it had, it would keep open for as long as it runs.
        tdk_sys::inherit_nothing(&mut command);
        let child = command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => SimError::NotInstalled {
                program: program.clone(),
            },
            _ => SimError::path("starting", &program)(source),
        })?;
        Ok(Self {
            child,
            program,
            output,
            sockets,
        })
    }

    /// Waits until the process has ended by itself, but not for longer than
    /// `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait()? {
                None if Instant::now() < deadline => thread::sleep(INTERVAL),
                status => return Ok(status),
            }
        }
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        // As long as the process is not reaped, its id is not another's.
        Ok(rustix::process::kill_process(
            Pid::from_child(&self.child),
            signal,
        )?)
    }

    /// An error if the process has ended.
    pub(crate) fn check(&mut self) -> Result<(), SimError> {
        let doing = "looking after the TPM's process";
        match self.child.try_wait().map_err(SimError::io(doing))? {
            None => Ok(()),
            Some(status) => Err(SimError::Exited {
                program: self.program.clone(),
                status,
                stderr: self.stderr(),
            }),
        }
    }

    /// What the process wrote so far.
    pub(crate) fn stderr(&self) -> String {
        // The process writes at the offset that its descriptor shares with
        // ours: read without moving it.
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = self.output.read_at(&mut buffer, text.len() as u64) {
            text.extend(&buffer[..length]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Ends the process, by force if need be, and reaps it.
    pub(crate) fn end(&mut self) -> io::Result<ExitStatus> {
        let status = self.end_process()?;
        // Once only: by the time this value is dropped, the next process may
        // have made its own.
        for socket in self.sockets.drain(..) {
            match std::fs::remove_file(socket) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(status)
    }

    fn end_process(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        if let Some(status) = self.wait(STOP_LIMIT)? {
            return Ok(status);
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Running for Process {
    fn program(&self) -> PathBuf {
        self.program.clone()
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn said(&self) -> String {
        self.stderr()
    }

    fn check(&mut self) -> Result<(), SimError> {
        Self::check(self)
    }

    fn end(&mut self) -> io::Result<()> {
        Self::end(self).map(drop)
    }
}

/// A place for what a program writes.
fn output() -> Result<File, SimError> {
    tempfile::tempfile().map_err(SimError::io("keeping what a program writes"))
}

fn copy(output: &File) -> Result<File, SimError> {
    let copy = output.try_clone();
    copy.map_err(SimError::io("keeping what a program writes"))
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn nothing_is_inherited() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = fs::canonicalize(dir.path()).expect("a path").join("open");
        let opened = File::create(&file).expect("a file");
        // As libraries have it that know of no other programs: no O_CLOEXEC.
        let _inheritable = rustix::io::dup(&opened).expect("a descriptor");
        let mut command = Command::new("sleep");
        command.arg("60").stdin(Stdio::null());
        let process = Process::spawn_command(command, Vec::new()).expect("a process");
        let open: Vec<_> = fs::read_dir(format!("/proc/{}/fd", process.pid()))
            .expect("descriptors")
            .map(|entry| fs::read_link(entry.expect("an entry").path()).expect("a link"))
            .collect();
        assert!(!open.contains(&file), "{open:?}");
        assert!(open.len() >= 3, "{open:?}");
    }
}
