// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Somebody between a program and a software TPM, who passes commands on, or
//! doesn't.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tdk_simulator::Swtpm;

/// Command codes of Part 2, section 6.5.2.
pub mod cc {
    #![allow(missing_docs)]
    pub const CREATE_PRIMARY: u32 = 0x131;
    pub const SEQUENCE_COMPLETE: u32 = 0x13E;
    pub const HMAC: u32 = 0x155;
    pub const HMAC_START: u32 = 0x15B;
    pub const POLICY_PCR: u32 = 0x17F;
    pub const SIGN: u32 = 0x15D;
    pub const FLUSH_CONTEXT: u32 = 0x165;
    pub const READ_PUBLIC: u32 = 0x173;
    pub const START_AUTH_SESSION: u32 = 0x176;
    pub const GET_CAPABILITY: u32 = 0x17A;
}

/// What to do with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Pass it on, and the response back.
    Pass,
    /// Answer with a response code; the TPM sees nothing of it.
    Answer(u32),
    /// Answer with these bytes; the TPM sees nothing of it.
    Raw(Vec<u8>),
    /// Pass it on, and these bytes back instead of the response.
    Instead(Vec<u8>),
    /// Pass it on, and the response back with that handle instead of the one in it.
    Handle(u32),
    /// Pass it on, and the response back with another bit in the byte before which
    /// there are as many, counted from the end; not in the header.
    Flip(usize),
    /// Close the connection; the TPM sees nothing of the command.
    Close,
    /// Pass it on, and close the connection instead of passing the response.
    CloseAfter,
    /// Never answer; the TPM sees nothing of the command.
    Silence,
    /// Pass it on, and never answer.
    SilenceAfter,
}

/// Commands that have been seen, by their codes.
type Seen = Arc<Mutex<Vec<u32>>>;

/// Everything that went over the connections, in both directions.
type Recorded = Arc<Mutex<Vec<u8>>>;

/// A socket that looks like a software TPM's.
#[derive(Debug)]
pub struct Middle {
    directory: tempfile::TempDir,
    seen: Seen,
    recorded: Recorded,
}

impl Middle {
    /// In front of `tpm`. `decide` gets the code of each command and how many
    /// commands there were before.
    pub fn before(
        tpm: &Swtpm,
        decide: impl Fn(u32, usize) -> Action + Send + Sync + 'static,
    ) -> Self {
        Self::start(tpm.tcti(), decide)
    }

    /// In front of nothing: must not pass anything on.
    pub fn alone(action: Action) -> Self {
        Self::start(String::new(), move |_, _| action.clone())
    }

    fn start(
        upstream: String,
        decide: impl Fn(u32, usize) -> Action + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("sock")).unwrap();
        let control = UnixListener::bind(directory.path().join("sock.ctrl")).unwrap();
        thread::spawn(move || {
            for client in control.incoming() {
                let _ = client.and_then(|client| obey(&client));
            }
        });
        let (seen, recorded) = (Seen::default(), Recorded::default());
        let decide = Arc::new(decide);
        let (threads_seen, threads_recorded) = (Arc::clone(&seen), Arc::clone(&recorded));
        // The threads end with the test's process.
        thread::spawn(move || {
            for client in listener.incoming() {
                let (upstream, seen) = (upstream.clone(), Arc::clone(&threads_seen));
                let (decide, recorded) = (Arc::clone(&decide), Arc::clone(&threads_recorded));
                thread::spawn(move || {
                    let _ = serve(client?, &upstream, &seen, &recorded, &*decide);
                    io::Result::Ok(())
                });
            }
        });
        Self {
            directory,
            seen,
            recorded,
        }
    }

    /// Its address.
    pub fn tcti(&self) -> String {
        format!(
            "swtpm:path={}",
            self.directory.path().join("sock").display()
        )
    }

    /// All bytes so far that somebody could have listened to.
    pub fn recorded(&self) -> Vec<u8> {
        self.recorded.lock().unwrap().clone()
    }

    /// The codes of all commands so far.
    pub fn seen(&self) -> Vec<u32> {
        self.seen.lock().unwrap().clone()
    }
}

/// Says yes to a control command, of which libtss2 sends one: to set the
/// locality.
fn obey(mut client: &UnixStream) -> io::Result<()> {
    client.read_exact(&mut [0; 5])?;
    client.write_all(&[0; 4])
}

fn serve(
    mut client: UnixStream,
    upstream: &str,
    seen: &Seen,
    recorded: &Recorded,
    decide: &dyn Fn(u32, usize) -> Action,
) -> io::Result<()> {
    loop {
        let command = frame(&mut client)?;
        let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
        let before = {
            let mut seen = seen.lock().unwrap();
            seen.push(code);
            seen.len() - 1
        };
        recorded.lock().unwrap().extend(&command);
        // The TPM serves one connection at a time, and how long the program's lasts is not its
        // to say: other tests' children may have inherited it, as libtss2 lets them.
        let pass = || {
            let mut tpm = connect(upstream)?;
            tpm.write_all(&command)?;
            let response = frame(&mut tpm)?;
            recorded.lock().unwrap().extend(&response);
            io::Result::Ok(response)
        };
        match decide(code, before) {
            Action::Pass => {
                let response = pass()?;
                client.write_all(&response)?;
            }
            Action::Answer(code) => {
                let header = [&[0x80, 0x01, 0, 0, 0, 10][..], &code.to_be_bytes()].concat();
                client.write_all(&header)?;
            }
            Action::Raw(bytes) => client.write_all(&bytes)?,
            Action::Instead(bytes) => {
                pass()?;
                client.write_all(&bytes)?;
            }
            Action::Handle(handle) => {
                let mut response = pass()?;
                response[10..14].copy_from_slice(&handle.to_be_bytes());
                client.write_all(&response)?;
            }
            Action::Flip(from_end) => {
                let mut response = pass()?;
                if let Some(byte) = response[10..].iter_mut().rev().nth(from_end) {
                    *byte ^= 1;
                }
                client.write_all(&response)?;
            }
            Action::Close => return Ok(()),
            Action::CloseAfter => {
                pass()?;
                return Ok(());
            }
            Action::Silence => silence(&mut client),
            Action::SilenceAfter => {
                pass()?;
                silence(&mut client);
            }
        }
    }
}

/// Until the other side has had enough.
fn silence(client: &mut UnixStream) {
    let _ = client.set_read_timeout(Some(Duration::from_mins(1)));
    let _ = client.read(&mut [0]);
}

/// A connection to the software TPM that a TCTI string names.
fn connect(tcti: &str) -> io::Result<File> {
    let socket: OwnedFd = if let Some(path) = tcti.strip_prefix("swtpm:path=") {
        UnixStream::connect(path)?.into()
    } else {
        let (host, port) = host_and_port(tcti).expect("a software TPM");
        TcpStream::connect((host, port))?.into()
    };
    Ok(socket.into())
}

/// Of `swtpm:host=HOST,port=PORT`.
pub(crate) fn host_and_port(tcti: &str) -> Option<(&str, u16)> {
    let (host, port) = tcti.strip_prefix("swtpm:host=")?.split_once(",port=")?;
    Some((host, port.parse().ok()?))
}

fn frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 10];
    stream.read_exact(&mut frame)?;
    let length = u32::from_be_bytes(frame[2..6].try_into().unwrap());
    frame.resize(usize::try_from(length).unwrap(), 0);
    stream.read_exact(&mut frame[10..])?;
    Ok(frame)
}
