// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One line per request, to syslog.
//!
//! A line is `<priority>key.tpm2_derived[pid]: text` in one datagram to
//! `/dev/log` (RFC 3164, as syslog(3) sends it, whose date the receiver adds).
//! syslog(3) itself waits when the log daemon hangs, and with it would the
//! asker, beyond the reach of signals; this never waits. Where nobody listens
//! the line goes to the kernel's log.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;

use tpm_derived_keys::config::LogLevel;

const SOCKET: &str = "/dev/log";
const KERNEL: &str = "/dev/kmsg";

/// A record of the kernel's log has at most 1024 bytes, with what the kernel
/// puts before it.
const KERNEL_MOST: usize = 900;

/// As many bytes of one value as a line bears.
const VALUE_MOST: usize = 256;

/// `LOG_AUTHPRIV`.
const FACILITY: u8 = 10 << 3;

/// Writes a line, if `level` is worth one at the `threshold`.
pub(crate) fn line(threshold: LogLevel, level: LogLevel, text: &str) {
    if level > threshold {
        return;
    }
    let severity = match level {
        LogLevel::Error => 3,
        LogLevel::Warning => 4,
        LogLevel::Info => 6,
        LogLevel::Debug => 7,
    };
    let line = format!(
        "<{}>key.tpm2_derived[{}]: {text}",
        FACILITY | severity,
        std::process::id()
    );
    if send(&line).is_err() {
        let record = kernel_record(line);
        let _ = File::options()
            .write(true)
            .open(KERNEL)
            .and_then(|mut file| file.write_all(record.as_bytes()));
    }
}

/// The line as the kernel's log takes it: longer ones it refuses, and until a
/// newline it waits for more.
fn kernel_record(mut line: String) -> String {
    // The text is ASCII, so any byte is a character.
    if line.len() > KERNEL_MOST {
        line.truncate(KERNEL_MOST - 3);
        line.push_str("...");
    }
    line.push('\n');
    line
}

fn send(line: &str) -> std::io::Result<usize> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to(line.as_bytes(), SOCKET)
}

/// `name=value` pairs in one line, whatever the values are.
#[derive(Debug, Default)]
pub(crate) struct Fields(String);

impl Fields {
    pub(crate) fn add(&mut self, name: &str, value: impl fmt::Display) -> &mut Self {
        let gap = if self.0.is_empty() { "" } else { " " };
        // Writing to a String does not fail.
        let _ = write!(self.0, "{gap}{name}={value}");
        self
    }

    /// A value that may contain anything: quoted, escaped and cut.
    pub(crate) fn add_bytes(&mut self, name: &str, value: &[u8]) -> &mut Self {
        // Between double quotes, single ones are harmless.
        let mut value = value.escape_ascii().to_string().replace("\\'", "'");
        if value.len() > VALUE_MOST {
            value.truncate(VALUE_MOST);
            value.push_str("...");
        }
        self.add(name, format_args!("\"{value}\""))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_whatever_is_in_it() {
        let mut fields = Fields::default();
        fields
            .add("key", 7)
            .add_bytes("id", b"a\n\"b\" c='d'\\\xff\0");
        assert_eq!(fields.as_str(), r#"key=7 id="a\n\"b\" c='d'\\\xff\x00""#);
    }

    #[test]
    fn lines_that_the_kernel_takes() {
        let mut fields = Fields::default();
        fields
            .add_bytes("id", &[0xFF; 255])
            .add_bytes("exe", &[b'x'; 4095]);
        assert!(fields.as_str().len() < 2 * (VALUE_MOST + 16));
        assert_eq!(kernel_record("short".into()), "short\n");
        let record = kernel_record("x".repeat(5000));
        assert_eq!(record.len(), KERNEL_MOST + 1);
        assert!(record.ends_with("x...\n"));
    }
}
