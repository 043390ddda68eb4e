// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An agent as a process of its own, which its caller starts and does not wait for.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use rustix::process::{getpid, getppid, kill_process, pidfd_open, setsid, waitpid};

use super::error::AgentError;

/// The two processes that there are from now on.
pub(super) enum Side {
    /// In the new process.
    Agent(Readiness),
    /// In the one that was called.
    Caller(Child),
}

/// By which the agent says that it listens.
pub(super) struct Readiness(OwnedFd);

/// The agent, as its caller sees it.
pub(super) struct Child {
    pid: Pid,
    readiness: OwnedFd,
}

/// Makes a second process, which ends with its caller's if it is to.
pub(super) fn split(end_with_caller: bool) -> Result<Side, AgentError> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(process)?;
    let caller = getpid();
    if let Some(child) = tdk_sys::fork(&writer).map_err(AgentError::Process)? {
        let pid = Pid::from_raw(child).expect("no child is process 0");
        return Ok(Side::Caller(Child {
            pid,
            readiness: reader,
        }));
    }
    // The child has no such file.
    std::mem::forget(reader);
    // No terminal's signals are meant for it.
    setsid().map_err(process)?;
    if end_with_caller {
        // While it is our parent, its number is nobody else's.
        let process_of_caller = pidfd_open(caller, PidfdFlags::empty()).map_err(process)?;
        if getppid() != Some(caller) {
            return Err(AgentError::Process(io::ErrorKind::BrokenPipe.into()));
        }
        thread::Builder::new()
            .name("caller".into())
            .spawn(move || end_with(&process_of_caller))
            .map_err(AgentError::Process)?;
    }
    Ok(Side::Agent(Readiness(writer)))
}

/// Has this process end when another does. (PR_SET_PDEATHSIG is a signal by the
/// other, who may have become a user who must not signal us.)
fn end_with(other: &OwnedFd) {
    let mut ended = [PollFd::new(other, PollFlags::IN)];
    while poll(&mut ended, None).is_err() {}
    let _ = kill_process(getpid(), Signal::TERM);
}

impl Readiness {
    /// Leaves the caller's files and directory alone, and says where the socket is.
    pub(super) fn tell(self, socket: &Path) -> Result<(), AgentError> {
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(AgentError::Process)?;
        std::env::set_current_dir("/").map_err(AgentError::Process)?;
        rustix::stdio::dup2_stdin(&null).map_err(process)?;
        rustix::stdio::dup2_stdout(&null).map_err(process)?;
        rustix::stdio::dup2_stderr(&null).map_err(process)?;
        File::from(self.0)
            .write_all(socket.as_os_str().as_bytes())
            .map_err(AgentError::Process)
    }
}

impl Child {
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Ends an agent that nobody has been told of.
    pub(super) fn end(&self) {
        // If it is not there, all is well.
        let _ = kill_process(self.pid, Signal::TERM);
    }

    /// Where the agent's socket is, when it listens there; or if it does not and has
    /// said why, what this process is to exit with.
    pub(super) fn socket(&mut self) -> Result<Result<PathBuf, ExitCode>, AgentError> {
        let mut path = Vec::new();
        let readiness = self.readiness.try_clone().map_err(AgentError::Process)?;
        File::from(readiness)
            .read_to_end(&mut path)
            .map_err(AgentError::Process)?;
        if !path.is_empty() {
            return Ok(Ok(OsString::from_vec(path).into()));
        }
        let status = waitpid(Some(self.pid), WaitOptions::empty()).map_err(process)?;
        let code = status.and_then(|(_, status)| status.exit_status());
        let code = code.and_then(|code| u8::try_from(code).ok());
        Ok(Err(code.map_or(ExitCode::FAILURE, ExitCode::from)))
    }
}

fn process(error: rustix::io::Errno) -> AgentError {
    AgentError::Process(error.into())
}
