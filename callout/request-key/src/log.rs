// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where records go: the journal, or else syslog, or else the kernel's log.
//!
//! The journal gets fields. syslog gets `<priority>key.tpm2_derived[pid]: line` in
//! one datagram to `/dev/log` (RFC 3164, as syslog(3) sends it, whose date the
//! receiver adds). syslog(3) itself waits when the log daemon hangs, and with it
//! would the asker, beyond the reach of signals; this never waits. Where nobody
//! listens, or whoever does is not fast enough, the line goes to the kernel's log.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use tpm_derived_keys::config::LogLevel;

use crate::record::{FACILITY, IDENTIFIER, Record};

const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";
const KERNEL: &str = "/dev/kmsg";

/// A record of the kernel's log has at most 1024 bytes, with what the kernel
/// puts before it.
const KERNEL_MOST: usize = 900;

/// The log, opened: writing to it opens nothing more.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    daemon: Option<Daemon>,
    kernel: Option<File>,
}

#[derive(Debug)]
enum Daemon {
    Journal(UnixDatagram),
    Syslog(UnixDatagram),
}

impl Log {
    /// Opens whatever log there is.
    pub(crate) fn open() -> Self {
        let journal = || connect(JOURNAL).map(Daemon::Journal);
        let syslog = || connect(SYSLOG).map(Daemon::Syslog);
        Self(Arc::new(Opened {
            daemon: journal().or_else(|_| syslog()).ok(),
            kernel: File::options().write(true).open(KERNEL).ok(),
        }))
    }

    /// Writes a record, if it is worth it at the `threshold`.
    pub(crate) fn write(&self, threshold: LogLevel, record: &Record) {
        if record.level() > threshold {
            return;
        }
        let line = format!(
            "<{}>{IDENTIFIER}[{}]: {}",
            FACILITY << 3 | record.severity(),
            std::process::id(),
            record.line()
        );
        let sent = match &self.0.daemon {
            Some(Daemon::Journal(socket)) => socket.send(&record.for_the_journal()),
            Some(Daemon::Syslog(socket)) => socket.send(line.as_bytes()),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        if let (Err(_), Some(kernel)) = (sent, &self.0.kernel) {
            // There is nobody left to tell of an error.
            let _ = (&*kernel).write_all(&kernel_record(line));
        }
    }
}

fn connect(path: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

/// The line as the kernel's log takes it: longer ones it refuses, and until a
/// newline it waits for more.
fn kernel_record(line: String) -> Vec<u8> {
    let mut line = line.into_bytes();
    if line.len() > KERNEL_MOST {
        line.truncate(KERNEL_MOST - 3);
        line.extend(b"...");
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_the_kernel_takes() {
        assert_eq!(kernel_record("short".into()), b"short\n");
        let record = kernel_record("x".repeat(5000));
        assert_eq!(record.len(), KERNEL_MOST + 1);
        assert!(record.ends_with(b"x...\n"));
    }
}
