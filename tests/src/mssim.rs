// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A software TPM behind the protocol of the reference simulator, which Debian
//! does not have.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

use tdk_simulator::Swtpm;

/// TPM_SEND_COMMAND. What else comes (the platform's signals, the end of a
/// session) is 32 bits, too.
const SEND_COMMAND: u32 = 8;

/// Two ports: TPM commands, and next to it the platform.
#[derive(Debug)]
pub struct Mssim {
    port: u16,
}

impl Mssim {
    /// In front of `tpm`, as long as the test's process runs.
    pub fn before(tpm: &Swtpm) -> Self {
        let tcti = tpm.tcti();
        let upstream = tcti.strip_prefix("swtpm:path=").expect("a unix socket");
        let upstream = PathBuf::from(upstream);
        let (commands, platform) = listeners();
        let port = commands.local_addr().unwrap().port();
        thread::spawn(move || {
            for client in platform.incoming() {
                thread::spawn(move || obey(client?));
            }
        });
        thread::spawn(move || {
            for client in commands.incoming() {
                let upstream = upstream.clone();
                thread::spawn(move || serve(client?, &upstream));
            }
        });
        Self { port }
    }

    /// Its address.
    pub fn tcti(&self) -> String {
        format!("mssim:host=127.0.0.1,port={}", self.port)
    }
}

fn listeners() -> (TcpListener, TcpListener) {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    for _ in 0..100 {
        let first = bind(0).unwrap();
        let port = first.local_addr().unwrap().port();
        if let Some(Ok(second)) = port.checked_add(1).map(bind) {
            return (first, second);
        }
    }
    panic!("there are no two ports in a row");
}

/// Says yes to every signal of the platform.
fn obey(mut client: TcpStream) -> io::Result<()> {
    loop {
        number(&mut client)?;
        client.write_all(&[0; 4])?;
    }
}

fn serve(mut client: TcpStream, upstream: &PathBuf) -> io::Result<()> {
    while number(&mut client)? == SEND_COMMAND {
        client.read_exact(&mut [0])?; // the locality
        let command = sized(&mut client)?;
        let mut tpm = UnixStream::connect(upstream)?;
        tpm.write_all(&command)?;
        let mut response = vec![0; 4096];
        let length = tpm.read(&mut response)?;
        client.write_all(&u32::try_from(length).unwrap().to_be_bytes())?;
        client.write_all(&response[..length])?;
        client.write_all(&[0; 4])?;
    }
    Ok(())
}

fn sized(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(number(client)?).unwrap()];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(client: &mut TcpStream) -> io::Result<u32> {
    let mut bytes = [0; 4];
    client.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}
