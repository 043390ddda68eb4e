// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A process that speaks to the TPM for all others: whoever connects to its socket sends
//! a number, and gets the key of that identity. It believes everybody, and does nothing
//! else that a real one would have to.

use std::env;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tdk_tests::live::Killed;
use tpm_derived_keys::tpm::{Bus, RootKey};

use crate::ways::{self, Way};
use crate::{BROKER, Result};

/// How long it may keep the TPM: as long as it lives.
const FOR_EVER: Duration = Duration::from_hours(1);

/// Starts one, and waits until it listens.
pub(crate) fn start(way: Way, bus: Bus, tcti: &str) -> Result<(Killed, PathBuf)> {
    let path = tcti.strip_prefix("swtpm:path=").ok_or("no Unix socket")?;
    let socket = PathBuf::from(format!("{path}.broker"));
    let process = Command::new(env::current_exe()?)
        .args([BROKER, way.name(), ways::bus_name(bus), tcti])
        .arg(&socket)
        .spawn()?;
    let process = Killed(process);
    while !socket.exists() {
        thread::sleep(Duration::from_millis(10));
    }
    Ok((process, socket))
}

/// What it does.
pub(crate) fn serve(way: &str, bus: &str, tcti: &str, socket: &str) -> Result<()> {
    let (way, bus) = (Way::parse(way)?, ways::parse_bus(bus)?);
    if way == Way::KeepingBroker {
        let mut tpm = ways::open(tcti, bus, FOR_EVER)?;
        let mut root = RootKey::create(&mut tpm)?;
        return each(socket, |number| {
            let key = root.identity_key(&ways::digest(number))?;
            ways::expand(&key)
        });
    }
    each(socket, |number| ways::derive(tcti, bus, number))
}

/// Serves one after the other.
fn each(socket: &str, mut key: impl FnMut(u32) -> Result<[u8; 32]>) -> Result<()> {
    for client in UnixListener::bind(socket)?.incoming() {
        let mut client = client?;
        let mut number = [0; 4];
        match client.read_exact(&mut number) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
            other => other?,
        }
        client.write_all(&key(u32::from_be_bytes(number))?)?;
    }
    Ok(())
}

/// The other side.
pub(crate) fn ask(socket: impl AsRef<Path>, number: u32) -> Result<[u8; 32]> {
    let mut broker = UnixStream::connect(socket)?;
    broker.write_all(&number.to_be_bytes())?;
    let mut key = [0; 32];
    broker.read_exact(&mut key)?;
    Ok(key)
}
