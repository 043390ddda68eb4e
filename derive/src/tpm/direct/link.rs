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

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::tpm::Tcti;

/// The longest response that any TPM command here can have.
pub(super) const MOST: usize = 4096;

const HEADER: usize = 10;

/// An open connection. After an error it must not be used again: what comes
/// next over it may be the answer to the last command.
#[derive(Debug)]
pub(super) struct Link {
    fd: Option<OwnedFd>,
    device: bool,
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
        Ok(Self {
            fd: Some(fd),
            device: matches!(tcti, Tcti::Device(_)),
            waiting: false,
        })
    }

    /// Whether closing would have to wait until the TPM has answered.
    pub(super) fn is_stuck(&self) -> bool {
        self.device && self.waiting
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
        self.waiting = true;
        let fd = self.fd.as_ref().expect("taken by drop only");
        let mut sent = 0;
        while sent < command.len() {
            wait(fd, PollFlags::OUT, until)?;
            match rustix::io::write(fd, &command[sent..]) {
                Ok(count) => sent += count,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(eof()),
                Err(error) => return Err(error.into()),
            }
        }
        let mut got = 0;
        let length = loop {
            wait(fd, PollFlags::IN, until)?;
            match rustix::io::read(fd, &mut response[got..]) {
                Ok(0) | Err(Errno::CONNRESET) => return Err(eof()),
                Ok(count) => got += count,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if got < HEADER {
                continue;
            }
            let length = u32::from_be_bytes([response[2], response[3], response[4], response[5]]);
            match usize::try_from(length) {
                Ok(length) if got > length || length > MOST => {
                    return Err(io::ErrorKind::InvalidData.into());
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

fn wait(fd: &OwnedFd, what: PollFlags, until: Instant) -> io::Result<()> {
    loop {
        let left = Timespec::try_from(remaining(until)?)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut fds = [PollFd::new(fd, what)];
        match poll(&mut fds, Some(&left)) {
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
                thread::sleep(left.min(Duration::from_millis(20)));
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
