// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sockets of both kinds, as files: they are read and written alike.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use rustix::net::Shutdown;

use crate::address::Address;
use crate::error::SimError;
use crate::wire::{self, HEADER};

/// More bytes than any TPM command has.
const COMMAND_MAX: usize = 65_536;

/// Where somebody listens.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Unix(PathBuf),
    Tcp(u16),
}

impl Target {
    pub(super) fn connect(&self) -> io::Result<File> {
        let socket: OwnedFd = match self {
            Self::Unix(path) => UnixStream::connect(path)?.into(),
            Self::Tcp(port) => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?;
                stream.set_nodelay(true)?;
                stream.into()
            }
        };
        Ok(socket.into())
    }
}

/// Both channels of a TPM.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    pub(super) data: Target,
    pub(super) control: Target,
}

impl Targets {
    pub(super) fn of(address: &Address) -> Self {
        let [data, control] = match address {
            Address::Unix { data, control } => {
                [data, control].map(|path| Target::Unix(path.into()))
            }
            Address::Tcp(ports) => [ports.data(), ports.control()].map(Target::Tcp),
        };
        Self { data, control }
    }

    /// Of a TCTI string: `swtpm:path=SOCKET` or `swtpm:host=127.0.0.1,port=N`.
    pub(super) fn parse(tcti: &str) -> Result<Self, String> {
        if let Some(path) = tcti.strip_prefix("swtpm:path=") {
            return Ok(Self {
                data: Target::Unix(path.into()),
                control: Target::Unix(format!("{path}.ctrl").into()),
            });
        }
        let port = [
            "swtpm:host=127.0.0.1,port=",
            "swtpm:host=localhost,port=",
            "swtpm:port=",
        ]
        .iter()
        .find_map(|start| tcti.strip_prefix(start)?.parse::<u16>().ok());
        match port.and_then(|port| Some((port, port.checked_add(1)?))) {
            Some((data, control)) => Ok(Self {
                data: Target::Tcp(data),
                control: Target::Tcp(control),
            }),
            None => Err(format!(
                "'{tcti}' is neither swtpm:path=SOCKET nor swtpm:host=127.0.0.1,port=N"
            )),
        }
    }
}

/// A socket that others connect to.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Listens at both channels of an address: its data and its control channel.
    pub(super) fn both(address: &Address) -> Result<[Self; 2], SimError> {
        let unix = |path: &String| {
            let listener = UnixListener::bind(path);
            listener.map(Self::Unix).map_err(SimError::io("listening"))
        };
        let tcp = |port| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            listener.map(Self::Tcp).map_err(SimError::io("listening"))
        };
        Ok(match address {
            Address::Unix { data, control } => [unix(data)?, unix(control)?],
            Address::Tcp(ports) => [tcp(ports.data())?, tcp(ports.control())?],
        })
    }

    pub(super) fn accept(&self) -> io::Result<File> {
        let socket: OwnedFd = match self {
            Self::Unix(listener) => listener.accept()?.0.into(),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.into()
            }
        };
        Ok(socket.into())
    }

    /// Has nobody connect any more; who waits for somebody gets an error.
    pub(super) fn close(&self) {
        let fd = match self {
            Self::Unix(listener) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        };
        let _ = rustix::net::shutdown(fd, Shutdown::Both);
    }
}

/// Ends a connection, for all who read from it or write to it.
pub(super) fn end(connection: &File) {
    let _ = rustix::net::shutdown(connection, Shutdown::Both);
}

/// A whole command; nothing if the other side closed before one.
pub(super) fn command(connection: &mut File) -> io::Result<Option<Vec<u8>>> {
    let mut command = vec![0; HEADER];
    match connection.read_exact(&mut command) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let size = u32::from_be_bytes([command[2], command[3], command[4], command[5]]);
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if !(HEADER..=COMMAND_MAX).contains(&size) {
        // A TPM would not get further either.
        return Ok(Some(command));
    }
    command.resize(size, 0);
    connection.read_exact(&mut command[HEADER..])?;
    Ok(Some(command))
}

/// Sends a command, over a connection of its own, and gives the response.
pub(super) fn ask(target: &Target, command: &[u8]) -> io::Result<Vec<u8>> {
    let mut connection = target.connect()?;
    connection.write_all(command)?;
    let mut response = vec![0; HEADER];
    connection.read_exact(&mut response)?;
    let size = wire::response_size(&response)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a TPM's response"))?;
    response.resize(size, 0);
    connection.read_exact(&mut response[HEADER..])?;
    Ok(response)
}
