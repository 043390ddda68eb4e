// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where a simulated TPM is found, and one command sent there.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::SimError;
use crate::ports::PortPair;
use crate::wire;

/// The longest path of a Unix socket: `sun_path` has 108 bytes, one for NUL.
const SOCKET_PATH_MAX: usize = 107;

/// What kind of socket a simulated TPM listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Endpoint {
    /// A Unix socket in the state directory, named `sock`.
    #[default]
    Unix,
    /// A free TCP port of 127.0.0.1; the next one is the control channel's.
    Tcp,
}

/// The address of one simulated TPM. It outlives the process, so that a
/// restarted TPM is found where it was.
#[derive(Debug)]
pub(crate) enum Address {
    /// The path of the socket. libtss2 expects the control channel of
    /// `swtpm:path=SOCK` at `SOCK.ctrl`.
    Unix { data: String, control: String },
    /// The ports.
    Tcp(PortPair),
}

impl Address {
    /// An address for a TPM whose state is in `dir`, an absolute path.
    pub(crate) fn new(endpoint: Endpoint, dir: &Path) -> Result<Self, SimError> {
        match endpoint {
            Endpoint::Unix => {
                let data = option_value(&dir.join("sock"))?;
                let control = format!("{data}.ctrl");
                // A TCTI string ends a value at an equals sign, too.
                if data.contains('=') {
                    return Err(SimError::BadPath {
                        path: data.into(),
                        reason: "a TCTI string cannot carry an equals sign: use another directory",
                    });
                }
                if control.len() > SOCKET_PATH_MAX {
                    return Err(SimError::BadPath {
                        path: control.into(),
                        reason: "the path of a Unix socket has at most 107 bytes: \
                                 use a directory with a shorter path (or TMPDIR), or TCP",
                    });
                }
                Ok(Self::Unix { data, control })
            }
            Endpoint::Tcp => PortPair::reserve()
                .map(Self::Tcp)
                .map_err(SimError::io("looking for two free TCP ports")),
        }
    }

    /// The TCTI string for this address.
    pub(crate) fn tcti(&self) -> String {
        match self {
            Self::Unix { data, .. } => format!("swtpm:path={data}"),
            Self::Tcp(ports) => format!("swtpm:host=127.0.0.1,port={}", ports.data()),
        }
    }

    /// The values of swtpm's options `--server` and `--ctrl`.
    pub(crate) fn options(&self) -> [String; 2] {
        match self {
            Self::Unix { data, control } => {
                [data, control].map(|path| format!("type=unixio,path={path}"))
            }
            Self::Tcp(ports) => [ports.data(), ports.control()]
                .map(|port| format!("type=tcp,port={port},bindaddr=127.0.0.1")),
        }
    }

    /// The files that stand for this address while swtpm runs.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Unix { data, control } => vec![data.into(), control.into()],
            Self::Tcp(_) => Vec::new(),
        }
    }

    /// Sends one command on a connection of its own and returns the response.
    pub(crate) fn send(&self, command: &[u8], limit: Duration) -> Result<Vec<u8>, SimError> {
        self.exchange(command, Instant::now() + limit)
            .map_err(|source| match source.kind() {
                io::ErrorKind::TimedOut => SimError::NoAnswer {
                    tcti: self.tcti(),
                    limit,
                },
                _ => SimError::Io {
                    doing: format!("sending a command to the TPM at {}", self.tcti()),
                    source,
                },
            })
    }

    /// Like [`Self::send`], with `TimedOut` for the end of the time.
    pub(crate) fn exchange(&self, command: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
        let mut connection = self.connect(deadline)?;
        write_all(&mut connection, command, deadline)?;
        let mut response = vec![0; wire::HEADER];
        read_exact(&mut connection, &mut response, deadline)?;
        let size = wire::response_size(&response)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a TPM's response"))?;
        response.resize(size, 0);
        read_exact(&mut connection, &mut response[wire::HEADER..], deadline)?;
        Ok(response)
    }

    /// A connection, as a file: both kinds of socket are read and written
    /// alike.
    ///
    /// `connect` waits while the TPM's backlog is full. The send time-out of
    /// the socket limits that.
    fn connect(&self, deadline: Instant) -> io::Result<File> {
        let family = match self {
            Self::Unix { .. } => AddressFamily::UNIX,
            Self::Tcp(_) => AddressFamily::INET,
        };
        let socket: OwnedFd =
            rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(time_left(deadline)?))?;
        match self {
            Self::Unix { data, .. } => {
                rustix::net::connect(&socket, &SocketAddrUnix::new(data.as_str())?)
            }
            Self::Tcp(ports) => rustix::net::connect(
                &socket,
                &SocketAddrV4::new(Ipv4Addr::LOCALHOST, ports.data()),
            ),
        }
        .map_err(|error| timed_out(error.into()))?;
        Ok(File::from(socket))
    }
}

/// The path as a value in swtpm's options and in a TCTI string, which separate
/// values by commas and know no escape.
pub(crate) fn option_value(path: &Path) -> Result<String, SimError> {
    let bad = |reason| SimError::BadPath {
        path: path.to_owned(),
        reason,
    };
    let text = path
        .to_str()
        .ok_or_else(|| bad("the path is not UTF-8: use another directory"))?;
    if text.contains(',') {
        return Err(bad(
            "swtpm's options cannot carry a comma: use another directory",
        ));
    }
    Ok(text.to_owned())
}

fn write_all(connection: &mut File, mut data: &[u8], deadline: Instant) -> io::Result<()> {
    while !data.is_empty() {
        sockopt::set_socket_timeout(&*connection, Timeout::Send, Some(time_left(deadline)?))?;
        match connection.write(data) {
            Ok(length) => data = &data[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(timed_out(error)),
        }
    }
    Ok(())
}

fn read_exact(connection: &mut File, mut data: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !data.is_empty() {
        sockopt::set_socket_timeout(&*connection, Timeout::Recv, Some(time_left(deadline)?))?;
        match connection.read(data) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the TPM closed the connection",
                ));
            }
            Ok(length) => data = &mut data[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(timed_out(error)),
        }
    }
    Ok(())
}

/// The time until `deadline`, or `TimedOut` if there is none. (A time-out of
/// zero would mean: for ever.)
fn time_left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        // Less than the kernel's unit would be rounded down to none.
        left => Ok(left.max(Duration::from_millis(1))),
    }
}

/// `TimedOut` for what the kernel reports when the time-out of a socket ends.
fn timed_out(error: io::Error) -> io::Error {
    let in_progress = rustix::io::Errno::INPROGRESS.raw_os_error();
    if error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(in_progress) {
        io::ErrorKind::TimedOut.into()
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::UnixListener;

    fn reason(path: &Path) -> &'static str {
        match Address::new(Endpoint::Unix, path) {
            Err(SimError::BadPath { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn unix_address() {
        let address = Address::new(Endpoint::Unix, Path::new("/a b/c")).expect("an address");
        assert_eq!(address.tcti(), "swtpm:path=/a b/c/sock");
        assert_eq!(
            address.options(),
            [
                "type=unixio,path=/a b/c/sock",
                "type=unixio,path=/a b/c/sock.ctrl"
            ]
        );
    }

    #[test]
    fn tcp_address() {
        let address = Address::new(Endpoint::Tcp, Path::new("/unused")).expect("an address");
        let [data, control] = address.options();
        let port = |option: &str| -> u16 {
            let option = option.strip_prefix("type=tcp,port=").expect("a port");
            let port = option.strip_suffix(",bindaddr=127.0.0.1").expect("local");
            port.parse().expect("a number")
        };
        assert_eq!(port(&data) + 1, port(&control));
        assert_eq!(
            address.tcti(),
            format!("swtpm:host=127.0.0.1,port={}", port(&data))
        );
    }

    #[test]
    fn the_longest_unix_address() {
        // "/xxx", "/sock.ctrl"
        let dir = format!("/{}", "x".repeat(SOCKET_PATH_MAX - 1 - "/sock.ctrl".len()));
        Address::new(Endpoint::Unix, Path::new(&dir)).expect("107 bytes are allowed");
        let dir = dir + "x";
        assert!(reason(Path::new(&dir)).contains("107 bytes"));
    }

    #[test]
    fn paths_that_options_cannot_carry() {
        assert!(reason(Path::new("/a,b")).contains("comma"));
        assert!(reason(Path::new("/a=b")).contains("equals sign"));
        assert!(reason(Path::new(OsStr::from_bytes(b"/\xff"))).contains("UTF-8"));
    }

    /// A listener that never accepts: the first connections wait for an
    /// answer, the ones after them for a place in the backlog.
    #[test]
    fn both_kinds_of_waiting_have_an_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let address = Address::new(Endpoint::Unix, dir.path()).expect("an address");
        let listener = UnixListener::bind(dir.path().join("sock")).expect("a listener");
        // As few as swtpm has wait until they are let in.
        rustix::net::listen(&listener, 1).expect("a queue");
        let deadline = Instant::now() + Duration::from_secs(10);
        let connection = address.connect(deadline).expect("a connection");

        let limit = Duration::from_millis(50);
        let error = address.send(&[0; 10], limit).expect_err("no answer");
        assert!(matches!(error, SimError::NoAnswer { .. }), "{error}");

        let mut waiting = vec![connection];
        while let Ok(connection) = address.connect(Instant::now() + limit) {
            waiting.push(connection);
        }
        let error = address.send(&[0; 10], limit).expect_err("no place");
        assert!(matches!(error, SimError::NoAnswer { .. }), "{error}");
    }
}
