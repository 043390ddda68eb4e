// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where records are read: the journal, or else syslog's file, or else the kernel's
//! log; or a file that somebody names.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use jiff::Zoned;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use tdk_request_key::IDENTIFIER;

use super::entry::{Entry, of_syslog};
use super::when;
use crate::error::Error;

/// Where the callout sends records, the first of them where somebody listens; or else
/// to the kernel's log.
const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";

/// Where log daemons put what is for LOG_AUTHPRIV: Debian's, Red Hat's, others'.
const FILES: [&str; 4] = [
    "/var/log/auth.log",
    "/var/log/secure",
    "/var/log/messages",
    "/var/log/syslog",
];

const KERNEL: &str = "/dev/kmsg";

/// Authpriv, as records of the kernel's log have it before their priority. What the
/// kernel says itself has 0 there, and nobody but root can write others.
const FACILITY: u32 = 10;

/// What a record of the kernel's log has at most, with its dictionary.
const RECORD_MOST: usize = 8192;

/// A log.
pub(super) enum Source {
    Journal,
    /// The files of a log daemon, the one that is being written last.
    Syslog(PathBuf),
    /// The kernel's, and when it began, in microseconds since 1970.
    Kernel(File, i64),
    /// What somebody names: lines of syslog's or of `journalctl --output=json`.
    Named(PathBuf),
}

impl Source {
    /// The log that this machine has.
    pub(super) fn find() -> Result<Self, Error> {
        if listens(JOURNAL) {
            return Ok(Self::Journal);
        }
        let mut tried = vec!["no journal".to_owned()];
        let has_daemon = listens(SYSLOG);
        for path in FILES.into_iter().filter(|_| has_daemon) {
            match File::open(path) {
                Ok(_) => return Ok(Self::Syslog(path.into())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tried.push(format!("{path}: {error}")),
            }
        }
        match kernel() {
            Ok(source) => Ok(source),
            Err(error) => {
                tried.push(format!("{KERNEL}: {error}"));
                Err(Error::Log(format!(
                    "there is no log to read ({}): run it as root, or name syslog's file by --file",
                    tried.join("; ")
                )))
            }
        }
    }

    /// What it is called.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Journal => "the journal".into(),
            Self::Syslog(path) | Self::Named(path) => path.display().to_string(),
            Self::Kernel(..) => "the kernel's log".into(),
        }
    }

    /// Whether others than root can have written what is in it.
    pub(super) fn is_anybodys(&self) -> bool {
        matches!(self, Self::Syslog(_) | Self::Named(_))
    }

    /// Everything that is there, to the end, and where to go on from there. The
    /// journal itself knows what `since` and `until` mean.
    pub(super) fn read(
        &mut self,
        since: Option<&str>,
        until: Option<&str>,
        now: &Zoned,
        take: &mut dyn FnMut(Entry) -> Result<(), Error>,
    ) -> Result<Place, Error> {
        match self {
            Self::Journal => {
                let mut command = journalctl();
                if let Some(since) = since {
                    command.arg(format!("--since={since}"));
                }
                if let Some(until) = until {
                    command.arg(format!("--until={until}"));
                }
                journal(&mut command, take)
            }
            Self::Syslog(path) => {
                let mut before = path.clone().into_os_string();
                before.push(".1");
                if let Ok(file) = File::open(&before) {
                    lines(file, |line| line_of(line, now).map_or(Ok(()), &mut *take))?;
                }
                let read = |error| Error::Log(format!("can't read {}: {error}", path.display()));
                let mut file = File::open(&*path).map_err(read)?;
                lines(&file, |line| line_of(line, now).map_or(Ok(()), &mut *take))?;
                let end = file.stream_position().map_err(read)?;
                Ok(Place::Offset(end))
            }
            Self::Named(path) => {
                let read = |error| Error::Log(format!("can't read {}: {error}", path.display()));
                let file = if path.as_os_str() == "-" {
                    File::open("/dev/stdin").map_err(read)?
                } else {
                    File::open(&*path).map_err(read)?
                };
                lines(file, |line| {
                    let entry = match line {
                        [b'{', ..] => Entry::of_journal(line),
                        line => line_of(line, now),
                    };
                    entry.map_or(Ok(()), &mut *take)
                })?;
                Ok(Place::End)
            }
            Self::Kernel(file, boot) => {
                while let Some(record) = next_record(file)? {
                    record_of(&record, *boot).map_or(Ok(()), &mut *take)?;
                }
                Ok(Place::End)
            }
        }
    }

    /// What comes after that place, as it comes. Ends with the log.
    pub(super) fn follow(
        &mut self,
        place: Place,
        now: &Zoned,
        take: &mut dyn FnMut(Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match (self, place) {
            (Self::Journal, place) => {
                let mut command = journalctl();
                command.args(["--follow", "--lines=all"]);
                match place {
                    Place::Cursor(cursor) => command.arg(format!("--after-cursor={cursor}")),
                    _ => command.arg(format!("--since=@{}", now.timestamp().as_second())),
                };
                journal(&mut command, take).map(drop)
            }
            (Self::Syslog(path), Place::Offset(offset)) => {
                let mut command = Command::new("tail");
                command
                    .arg(format!("--bytes=+{}", offset + 1))
                    .args(["--follow=name", "--retry", "--"])
                    .arg(&path);
                let mut tail = Running::start(&mut command)?;
                lines(tail.output(), |line| {
                    line_of(line, &Zoned::now()).map_or(Ok(()), &mut *take)
                })
            }
            (Self::Kernel(file, boot), _) => loop {
                poll(&mut [PollFd::new(file, PollFlags::IN)], None)
                    .map_err(|error| Error::Log(format!("can't wait for {KERNEL}: {error}")))?;
                while let Some(record) = next_record(file)? {
                    record_of(&record, *boot).map_or(Ok(()), &mut *take)?;
                }
            },
            _ => Ok(()),
        }
    }
}

/// Whether somebody takes what is sent there, as the callout finds out.
fn listens(socket: &str) -> bool {
    let sender = UnixDatagram::unbound();
    sender.is_ok_and(|sender| sender.connect(socket).is_ok())
}

/// How far a log has been read.
pub(super) enum Place {
    /// The journal's own word for it.
    Cursor(String),
    Offset(u64),
    /// There is no more, or it is where the open file is.
    End,
}

/// journalctl(1) for what root has written in the callout's name, or what was written
/// to the kernel's log, as only root can.
fn journalctl() -> Command {
    let mut command = Command::new("journalctl");
    let name = format!("SYSLOG_IDENTIFIER={IDENTIFIER}");
    command
        .args(["--output=json", "--all", "--no-pager", "--quiet"])
        .args([&name, "_UID=0", "+", &name, "_TRANSPORT=kernel"]);
    command
}

/// A program that ends when it is not needed any more.
struct Running(Child, String);

impl Running {
    fn start(command: &mut Command) -> Result<Self, Error> {
        let name = command.get_program().display().to_string();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = tdk_sys::with_limits_as_given(command).spawn();
        match child {
            Ok(child) => Ok(Self(child, name)),
            Err(error) => Err(Error::Log(format!("can't run {name}: {error}"))),
        }
    }

    fn output(&mut self) -> impl Read + use<> {
        self.0.stdout.take().expect("piped, and taken once")
    }

    fn end(mut self) -> Result<(), Error> {
        match self.0.wait() {
            Ok(status) if status.success() => Ok(()),
            // It has said why.
            Ok(status) => Err(Error::Log(format!("{} failed: {status}", self.1))),
            Err(error) => Err(Error::Log(format!("{} failed: {error}", self.1))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn journal(
    command: &mut Command,
    take: &mut dyn FnMut(Entry) -> Result<(), Error>,
) -> Result<Place, Error> {
    let mut running = Running::start(command)?;
    let mut last = Vec::new();
    lines(running.output(), |line| {
        last.clear();
        last.extend(line);
        Entry::of_journal(line).map_or(Ok(()), &mut *take)
    })?;
    running.end()?;
    let last: serde_json::Value = serde_json::from_slice(&last).unwrap_or_default();
    Ok(
        match last.get("__CURSOR").and_then(|cursor| cursor.as_str()) {
            Some(cursor) => Place::Cursor(cursor.into()),
            None => Place::End,
        },
    )
}

/// Each line of a file. They need not be text.
fn lines(file: impl Read, mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => take(line.strip_suffix(b"\n").unwrap_or(&line))?,
            Err(error) => return Err(Error::Log(format!("can't read the log: {error}"))),
        }
    }
}

fn line_of(line: &[u8], now: &Zoned) -> Option<Entry> {
    let (before, text) = of_syslog(line)?;
    Some(Entry::of_line(text, when::of_syslog(before, now)))
}

fn kernel() -> io::Result<Source> {
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(KERNEL)?;
    // Some kernels let everybody open it, and only root read.
    let mut probe = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(KERNEL)?;
    match probe.read(&mut [0; RECORD_MOST]) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    let uptime = fs::read_to_string("/proc/uptime")?;
    let uptime: f64 = uptime
        .split(' ')
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or_default();
    let uptime = jiff::SignedDuration::try_from_secs_f64(uptime).unwrap_or_default();
    let boot = jiff::Timestamp::now() - uptime;
    Ok(Source::Kernel(file, boot.as_microsecond()))
}

/// The next record of the kernel's log; nothing if there is none yet.
fn next_record(file: &mut File) -> Result<Option<Vec<u8>>, Error> {
    let mut buffer = vec![0; RECORD_MOST];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(None),
                // Records that were not read in time are gone; the next is there.
                io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted => {}
                _ => return Err(Error::Log(format!("can't read {KERNEL}: {error}"))),
            },
        }
    }
}

/// `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT` and a newline
/// (Documentation/ABI/testing/dev-kmsg).
fn record_of(record: &[u8], boot: i64) -> Option<Entry> {
    let end = record.iter().position(|byte| *byte == b';')?;
    let head = std::str::from_utf8(&record[..end]).ok()?;
    let mut numbers = head.split(',');
    let priority: u32 = numbers.next()?.parse().ok()?;
    let time: i64 = numbers.nth(1)?.parse().ok()?;
    if priority >> 3 != FACILITY {
        return None;
    }
    let text = record[end + 1..].split(|byte| *byte == b'\n').next()?;
    // As in syslog, but for time and host.
    let line = [b" ", &as_written(text)[..]].concat();
    let (_, text) = of_syslog(&line)?;
    Some(Entry::of_line(text, Some(boot.saturating_add(time))))
}

/// Text as it was before the kernel has escaped it: `\xNN`, for backslashes as well.
fn as_written(mut text: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    while let Some((byte, rest)) = text.split_first() {
        let code = rest.get(..3).and_then(|code| {
            let digits = std::str::from_utf8(code.strip_prefix(b"x")?).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        match code {
            Some(code) if *byte == b'\\' => {
                written.push(code);
                text = &rest[3..];
            }
            _ => {
                written.push(*byte);
                text = rest;
            }
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use tdk_request_key::Field;

    use super::*;

    #[test]
    fn records_of_the_kernels_log() {
        let entry = record_of(
            b"84,339,5140900,-;key.tpm2_derived[9]: key=7 decision=refused \
              id=\"\\x5cn\\x5c\\x5cx\\\"\n SUBSYSTEM=x\n",
            1_000_000,
        )
        .unwrap();
        assert_eq!(entry.text(Field::Decision), Some("refused"));
        assert_eq!(entry.get(Field::KeyId), Some(&b"\n\\x\""[..]));
        assert_eq!(entry.time, Some(6_140_900));
        for other in [
            &b"4,339,5140900,-;key.tpm2_derived[9]: key=7"[..],
            b"84,339,5140900,-;x key.tpm2_derived[9]: key=7\n key.tpm2_derived[9]: key=7",
            b"84,339",
            b"",
        ] {
            let entry = record_of(other, 0);
            let said = entry.as_ref().map(|entry| &entry.message[..]);
            assert!(said.is_none() || said == Some(b"key=7"), "{said:?}");
        }
        assert_eq!(record_of(b"4,1,5,-;key.tpm2_derived[9]: key=7\n", 0), None);
    }
}
