// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A pair of TCP ports that stay ours while swtpm is not listening on them.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// How many free ports are looked at for one whose next is free as well.
const TRIES: u32 = 100;

/// Two consecutive ports of 127.0.0.1, the first for TPM commands, the second
/// for swtpm's control channel.
///
/// Ports that were only looked up could be taken by another process before
/// swtpm binds them, and what answers there would then be another TPM. So both
/// stay bound, for as long as this value lives, by sockets that do not listen.
/// They are bound without `SO_REUSEADDR`, which fails if anybody has the port,
/// and get that option afterwards, which lets swtpm (it sets it, too) bind the
/// same port and listen there. A bound port is not given out by the kernel:
/// neither to a socket that asks for any port nor to a connection going out.
#[derive(Debug)]
pub(crate) struct PortPair {
    first: u16,
    _reservation: [OwnedFd; 2],
}

impl PortPair {
    /// Two consecutive ports that nobody uses.
    pub(crate) fn reserve() -> io::Result<Self> {
        for _ in 0..TRIES {
            let (data, first) = bind(0)?;
            let Some(second) = first.checked_add(1) else {
                continue;
            };
            let control = match bind(second) {
                Ok((socket, _)) => socket,
                Err(Errno::ADDRINUSE) => continue,
                Err(error) => return Err(error.into()),
            };
            sockopt::set_socket_reuseaddr(&data, true)?;
            sockopt::set_socket_reuseaddr(&control, true)?;
            return Ok(Self {
                first,
                _reservation: [data, control],
            });
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// The port for TPM commands.
    pub(crate) fn data(&self) -> u16 {
        self.first
    }

    /// The port for swtpm's control channel, where libtss2 looks for it.
    pub(crate) fn control(&self) -> u16 {
        self.first + 1
    }
}

/// A socket bound to the port, or to a free one if `port` is 0.
fn bind(port: u16) -> Result<(OwnedFd, u16), Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_disjoint_and_consecutive() {
        let pairs: Vec<_> = (0..20)
            .map(|_| PortPair::reserve().expect("two free ports"))
            .collect();
        let mut ports: Vec<_> = pairs
            .iter()
            .flat_map(|pair| [pair.data(), pair.control()])
            .collect();
        assert!(ports.chunks(2).all(|pair| pair[0] + 1 == pair[1]));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 40);
    }

    #[test]
    fn a_reserved_port_is_refused_to_others() {
        let pair = PortPair::reserve().expect("two free ports");
        for port in [pair.data(), pair.control()] {
            assert_eq!(bind(port).expect_err("taken"), Errno::ADDRINUSE);
        }
    }
}
