// SPDX-License-Identifier: Apache-2.0 OR MIT
//! swtpm as the TPM of a machine: QEMU starts it up, over a control socket.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{GuestError, TpmModel};
use crate::address::option_value;
use crate::process::Process;
use crate::state::{Lock, State, StateSource};

/// How long swtpm may take to listen.
const LIMIT: Duration = Duration::from_secs(10);
/// How long swtpm may take to end after QEMU.
const END_LIMIT: Duration = Duration::from_secs(2);

/// A running swtpm that waits for QEMU.
#[derive(Debug)]
pub(crate) struct GuestTpm {
    // In the order in which they are dropped.
    process: Process,
    _lock: Lock,
    state: State,
    socket: PathBuf,
}

impl GuestTpm {
    /// Starts one on a state, with its socket in `directory`: a TPM 2.0, or an
    /// old one, a TPM 1.2.
    pub(crate) fn start(
        source: StateSource,
        directory: &Path,
        old: bool,
    ) -> Result<Self, GuestError> {
        let state = source.prepare()?;
        let lock = Lock::take(state.dir())?;
        let socket = directory.join("tpm");
        let mut command = Command::new("swtpm");
        command
            .arg("socket")
            .args((!old).then_some("--tpm2"))
            .arg("--tpmstate")
            .arg(format!("dir={}", option_value(state.dir())?))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", option_value(&socket)?))
            .arg("--terminate")
            .stdin(Stdio::null());
        let mut process = Process::spawn_command(command, vec![socket.clone()])?;
        wait_for(&socket, &mut process)?;
        Ok(Self {
            process,
            _lock: lock,
            state,
            socket,
        })
    }

    /// QEMU's options for it.
    pub(crate) fn options(&self, model: TpmModel) -> [String; 6] {
        let device = match model {
            TpmModel::Tis => "tpm-tis",
            TpmModel::Crb => "tpm-crb",
        };
        [
            "-chardev".into(),
            format!("socket,id=tpm,path={}", self.socket.display()),
            "-tpmdev".into(),
            "emulator,id=tpm0,chardev=tpm".into(),
            "-device".into(),
            format!("{device},tpmdev=tpm0"),
        ]
    }

    /// The process.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Waits until swtpm has ended after QEMU, and gives the state back.
    pub(crate) fn end(mut self) -> Result<State, GuestError> {
        let doing = "waiting for swtpm's end";
        self.process
            .wait(END_LIMIT)
            .map_err(GuestError::io(doing))?;
        self.process.end().map_err(GuestError::io(doing))?;
        Ok(self.state)
    }
}

/// Waits until somebody listens on a socket, without connecting: swtpm takes the
/// end of the first connection for the end of its work.
fn wait_for(socket: &Path, process: &mut Process) -> Result<(), GuestError> {
    let deadline = Instant::now() + LIMIT;
    loop {
        process.check()?;
        let sockets = Path::new("/proc/net/unix");
        let text = fs::read_to_string(sockets).map_err(GuestError::path("reading", sockets))?;
        if is_listening(&text, &socket.to_string_lossy()) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(GuestError::Io {
                doing: format!("waiting for swtpm to listen on {}", socket.display()),
                source: std::io::ErrorKind::TimedOut.into(),
            });
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Looks for a socket in the text of /proc/net/unix: `Num: RefCount Protocol
/// Flags Type St Inode Path`.
fn is_listening(text: &str, path: &str) -> bool {
    const ACCEPTS: &str = "00010000";
    text.lines().any(|line| {
        line.strip_suffix(path)
            .is_some_and(|rest| rest.ends_with(' ') && rest.split(' ').nth(3) == Some(ACCEPTS))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn who_listens() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a b");
        let name = path.to_str().expect("UTF-8");
        let look = || {
            let text = fs::read_to_string("/proc/net/unix").expect("text");
            is_listening(&text, name)
        };
        assert!(!look());
        let _listener = UnixListener::bind(&path).expect("a listener");
        assert!(look());
        assert!(!is_listening(
            "x: 00000002 00000000 00000000 0001 01 7 /a",
            "/a"
        ));
    }
}
