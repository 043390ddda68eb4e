// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Somebody between a program and a software TPM, with a clock: how long the TPM takes
//! for each command, without the program's own part.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tdk_simulator::Swtpm;

use crate::Result;

/// A command's code (Part 2, section 6.5.2) and how long its answer took.
pub(crate) type Timed = (u32, Duration);

/// A socket that looks like a software TPM's.
pub(crate) struct Wire {
    directory: tempfile::TempDir,
    seen: Arc<Mutex<Vec<Timed>>>,
}

impl Wire {
    pub(crate) fn before(tpm: &Swtpm) -> Result<Self> {
        let tcti = tpm.tcti();
        let upstream = tcti.strip_prefix("swtpm:path=").ok_or("no unix socket")?;
        let upstream = PathBuf::from(upstream);
        let directory = tempfile::tempdir()?;
        let listener = UnixListener::bind(directory.path().join("sock"))?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let its_seen = Arc::clone(&seen);
        // It ends with this process. As the TPM, it serves one connection at a time.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // The client has gone: the next.
                let _ = pass(client, &upstream, &its_seen);
            }
        });
        Ok(Self { directory, seen })
    }

    pub(crate) fn tcti(&self) -> String {
        format!("swtpm:path={}", self.directory.path().join("sock").display())
    }

    /// What there was since it was taken last.
    pub(crate) fn take(&self) -> Vec<Timed> {
        std::mem::take(&mut self.seen.lock().expect("nobody panics with it"))
    }
}

fn pass(mut client: UnixStream, upstream: &Path, seen: &Mutex<Vec<Timed>>) -> io::Result<()> {
    let mut tpm = UnixStream::connect(upstream)?;
    loop {
        let command = frame(&mut client)?;
        let code = u32::from_be_bytes([command[6], command[7], command[8], command[9]]);
        let start = Instant::now();
        tpm.write_all(&command)?;
        let response = frame(&mut tpm)?;
        let took = start.elapsed();
        seen.lock().expect("nobody panics with it").push((code, took));
        client.write_all(&response)?;
    }
}

fn frame(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 10];
    stream.read_exact(&mut frame)?;
    let length = u32::from_be_bytes([frame[2], frame[3], frame[4], frame[5]]);
    frame.resize(length.clamp(10, 4096) as usize, 0);
    stream.read_exact(&mut frame[10..])?;
    Ok(frame)
}

/// The name of a command that a derivation sends.
pub(crate) fn name(code: u32) -> &'static str {
    match code {
        0x131 => "TPM2_CreatePrimary",
        0x155 => "TPM2_HMAC",
        0x165 => "TPM2_FlushContext",
        0x173 => "TPM2_ReadPublic",
        0x176 => "TPM2_StartAuthSession",
        0x17A => "TPM2_GetCapability",
        _ => "another command",
    }
}
