// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One connection to a TPM: bytes out, bytes in, until a point in time.

use std::fs::OpenOptions;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::tpm::Tcti;

/// The longest response that any TPM command here can have.
pub(super) const MOST: usize = 4096;

const HEADER: usize = 10;

/// Between tries of what can't be waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// An open connection. After an error it must not be used again: what comes
/// next over it may be the answer to the last command.
#[derive(Debug)]
pub(super) struct Link {
    fd: Option<OwnedFd>,
    /// Tells of a device's answer. There is none for sockets.
    answers: Option<OwnedFd>,
    /// A command has been sent and not been answered.
    waiting: bool,
}

impl Link {
    pub(super) fn open(tcti: &Tcti, until: Instant) -> io::Result<Self> {
        let fd = match tcti {
            Tcti::Device(path) => open_device(path, until)?,
            Tcti::SwtpmUnix(path) => connect_unix(path, until)?,
            Tcti::SwtpmTcp(address) => connect_tcp(*address, until)?,
        };
        let answers = match tcti {
            Tcti::Device(_) => Some(answers_of(&fd)?),
            _ => None,
        };
        Ok(Self {
            fd: Some(fd),
            answers,
            waiting: false,
        })
    }

    /// Whether closing would have to wait until the TPM has answered.
    pub(super) fn is_stuck(&self) -> bool {
        self.answers.is_some() && self.waiting
    }

    /// Sends a command, and waits for the response.
    ///
    /// Gives the response's length. Errors are `TimedOut` when `until` has
    /// passed, `UnexpectedEof` when the other side closed, `InvalidData` when
    /// the response's header names an impossible length.
    pub(super) fn exchange(
        &mut self,
        command: &[u8],
        response: &mut [u8; MOST],
        until: Instant,
    ) -> io::Result<usize> {
        let fd = self.fd.as_ref().expect("taken by drop only");
        if self.answers.is_none() {
            nothing_unread(fd)?;
        }
        self.waiting = true;
        let mut sent = 0;
        while sent < command.len() {
            // A device takes a command when it has none.
            if self.answers.is_none() {
                wait(fd, PollFlags::OUT, until)?;
            }
            match rustix::io::write(fd, &command[sent..]) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => thread::sleep(remaining(until)?.min(PAUSE)),
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(eof()),
                Err(error) => return Err(error.into()),
            }
        }
        let mut got = 0;
        let mut ready = false;
        let length = loop {
            if !ready {
                match &self.answers {
                    Some(answers) => wait_for_answer(answers, until)?,
                    None => wait(fd, PollFlags::IN, until)?,
                }
                // Until a read says otherwise: what has come is told of once.
                ready = true;
            }
            match rustix::io::read(fd, &mut response[got..]) {
                Ok(0) | Err(Errno::CONNRESET) => return Err(eof()),
                Ok(count) => got += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    ready = false;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            if got < HEADER {
                continue;
            }
            let length = u32::from_be_bytes([response[2], response[3], response[4], response[5]]);
            match usize::try_from(length) {
                Ok(length) if got > length || length > MOST => {
                    let what = "its size is impossible";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                Ok(length) if got == length => break length,
                _ => {}
            }
        };
        self.waiting = false;
        Ok(length)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The kernel lets nobody close a TPM device before the command has
        // been answered. A TPM that hangs must not keep this thread as well, so
        // the descriptor is left for the process's end.
        if self.is_stuck() {
            std::mem::forget(self.fd.take());
        }
    }
}

/// An error if something has come that nobody has asked for: it would be taken for the
/// answer to the next command.
fn nothing_unread(socket: &OwnedFd) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut [0])) {
        Err(Errno::AGAIN) => Ok(()),
        Ok(0) | Err(Errno::CONNRESET) => Err(eof()),
        Ok(_) => {
            let what = "more has come than the answer to the command before";
            Err(io::Error::new(io::ErrorKind::InvalidData, what))
        }
        Err(error) => Err(error.into()),
    }
}

fn eof() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn remaining(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

fn left(until: Instant) -> io::Result<Timespec> {
    Timespec::try_from(remaining(until)?).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn wait(fd: &OwnedFd, what: PollFlags, until: Instant) -> io::Result<()> {
    loop {
        let left = left(until)?;
        let mut fds = [PollFd::new(fd, what)];
        match poll(&mut fds, Some(&left)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// What tells that a device has an answer, to be made before a command is sent.
///
/// poll(2) and read(2) are no way to wait for a TPM device: while a command is
/// in the TPM the kernel lets nobody ask whether there is an answer, not even
/// without blocking, but keeps them waiting beyond the reach of time-outs and
/// signals. epoll(7) asks when a file is added to it, and then not before the
/// driver says that something has changed, which is when it has the answer.
/// (Without ET it would ask once more after each answer, and meet the next
/// command.)
fn answers_of(device: &OwnedFd) -> io::Result<OwnedFd> {
    let answers = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let events = epoll::EventFlags::IN | epoll::EventFlags::ET;
    match epoll::add(&answers, device, epoll::EventData::new_u64(0), events) {
        Ok(()) => Ok(answers),
        // What never keeps anyone waiting, as /dev/null.
        Err(Errno::PERM) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a TPM device",
        )),
        Err(error) => Err(error.into()),
    }
}

fn wait_for_answer(answers: &OwnedFd, until: Instant) -> io::Result<()> {
    loop {
        let left = left(until)?;
        let mut events = Vec::with_capacity(1);
        match epoll::wait(answers, spare_capacity(&mut events), Some(&left)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn open_device(path: &Path, until: Instant) -> io::Result<OwnedFd> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    loop {
        match OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
        {
            // Nothing is written to what is no device.
            Ok(file) if !file.metadata()?.file_type().is_char_device() => {
                let what = "it is not a character device";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            Ok(file) => return Ok(file.into()),
            // Without resource manager the device has one user at a time.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                let left = remaining(until).map_err(|_| error)?;
                thread::sleep(left.min(PAUSE));
            }
            Err(error) => return Err(error),
        }
    }
}

fn connect_unix(path: &Path, until: Instant) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // A blocking connect waits while the listener's backlog is full; a
    // non-blocking one would fail at once.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(remaining(until)?))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    nonblocking(socket)
}

fn connect_tcp(address: SocketAddr, until: Instant) -> io::Result<OwnedFd> {
    let stream = TcpStream::connect_timeout(&address, remaining(until)?)?;
    stream.set_nodelay(true)?;
    nonblocking(stream.into())
}

fn nonblocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    let flags = rustix::fs::fcntl_getfl(fd.as_fd())?;
    rustix::fs::fcntl_setfl(fd.as_fd(), flags | OFlags::NONBLOCK)?;
    Ok(fd)
}
