// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What comes out of a guest: bytes over a socket, some of them between marks.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::{GuestError, Stream};

/// One stream from a guest.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) stream: Stream,
    path: PathBuf,
    listener: UnixListener,
    connection: Option<UnixStream>,
    at_end: bool,
    data: Vec<u8>,
    /// What the guest writes before and after what counts; empty if all does.
    mark: String,
    /// Where what counts starts, once the guest has begun.
    start: Option<usize>,
    /// Where it ends, and the status the guest named there.
    end: Option<(usize, i32)>,
    /// Up to here it was searched for marks.
    searched: usize,
    /// Up to here it was given out as lines.
    given: usize,
}

impl Channel {
    /// Listens in a directory for QEMU.
    pub(crate) fn listen(directory: &Path, stream: Stream, mark: &str) -> Result<Self, GuestError> {
        let path = directory.join(stream.name());
        let listener = UnixListener::bind(&path)
            .and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
            .map_err(GuestError::path("listening on", &path))?;
        Ok(Self {
            stream,
            path,
            listener,
            connection: None,
            at_end: false,
            data: Vec::new(),
            mark: mark.into(),
            start: mark.is_empty().then_some(0),
            end: None,
            searched: 0,
            given: 0,
        })
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What to wait for, unless it has ended.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.connection {
            _ if self.at_end => None,
            Some(connection) => Some(connection.as_fd()),
            None => Some(self.listener.as_fd()),
        }
    }

    /// Takes what is there, without waiting.
    pub(crate) fn pump(&mut self) -> io::Result<()> {
        if self.connection.is_none() {
            match self.listener.accept() {
                Ok((connection, _)) => {
                    connection.set_nonblocking(true)?;
                    self.connection = Some(connection);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let mut buffer = [0; 16384];
        while let Some(connection) = &mut self.connection
            && !self.at_end
        {
            match connection.read(&mut buffer) {
                Ok(0) => self.at_end = true,
                Ok(length) => self.data.extend(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.at_end = true,
                Err(error) => return Err(error),
            }
        }
        if !self.mark.is_empty() {
            self.find_marks();
        }
        Ok(())
    }

    /// Sends something into the guest.
    pub(crate) fn send(&self, text: &str) -> io::Result<()> {
        match &self.connection {
            Some(connection) => (&*connection).write_all(text.as_bytes()),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Looks for the marks in what is new.
    fn find_marks(&mut self) {
        if self.start.is_none() {
            let opening = format!("{}\n", self.mark);
            let at = find(&self.data, opening.as_bytes());
            self.start = at.map(|at| at + opening.len());
        }
        let Some(start) = self.start else { return };
        let closing = format!("{} ", self.mark);
        self.searched = self.searched.max(start);
        while self.end.is_none() {
            let Some(at) = find(&self.data[self.searched..], closing.as_bytes()) else {
                // The beginning of one may be there.
                let most = self.data.len().saturating_sub(closing.len());
                self.searched = self.searched.max(most);
                return;
            };
            let at = self.searched + at;
            let rest = &self.data[at + closing.len()..];
            let Some(newline) = rest.iter().position(|byte| *byte == b'\n') else {
                self.searched = at;
                return;
            };
            let status = std::str::from_utf8(&rest[..newline]);
            // The script may have printed the mark, which is no secret.
            match status.ok().and_then(|text| text.parse().ok()) {
                Some(status) => self.end = Some((at, status)),
                None => self.searched = at + 1,
            }
        }
    }

    /// Whether the guest has begun to write what counts.
    pub(crate) fn has_begun(&self) -> bool {
        self.start.is_some()
    }

    /// The status that the guest named at the end.
    pub(crate) fn status(&self) -> Option<i32> {
        self.end.map(|(_, status)| status)
    }

    /// What came so far of what counts.
    pub(crate) fn content(&self) -> &[u8] {
        let end = self.end.map_or(self.data.len(), |(end, _)| end);
        self.start.map_or(&[], |start| &self.data[start..end])
    }

    /// The next line that has not been given out, with its newline if it has
    /// one.
    pub(crate) fn line(&mut self) -> Option<Vec<u8>> {
        let left = self.content().get(self.given..)?;
        let line = match left.iter().position(|byte| *byte == b'\n') {
            Some(newline) => left[..=newline].to_vec(),
            None if (self.end.is_some() || self.at_end) && !left.is_empty() => left.to_vec(),
            None => return None,
        };
        self.given += line.len();
        Some(line)
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|at| at == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_the_marks() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut channel =
            Channel::listen(directory.path(), Stream::Stdout, "f00").expect("a channel");
        let mut guest = UnixStream::connect(channel.path()).expect("connected");
        let mut say = |channel: &mut Channel, text: &str| {
            guest.write_all(text.as_bytes()).expect("written");
            channel.pump().expect("read");
        };
        let line = |channel: &mut Channel| {
            let line = channel.line();
            line.map(|line| String::from_utf8(line).expect("text"))
        };

        say(&mut channel, "f0");
        assert_eq!(line(&mut channel), None);
        assert!(!channel.has_begun());
        // A script may print the mark without ending its output.
        say(&mut channel, "0\nfirst\nf00 x\nf00 1");
        assert_eq!(line(&mut channel).as_deref(), Some("first\n"));
        assert_eq!(line(&mut channel).as_deref(), Some("f00 x\n"));
        assert_eq!(line(&mut channel), None);
        assert_eq!(channel.status(), None);
        say(&mut channel, "x\nlastf0");
        say(&mut channel, "0 17\nafter");
        assert_eq!(channel.status(), Some(17));
        assert_eq!(line(&mut channel).as_deref(), Some("f00 1x\n"));
        assert_eq!(line(&mut channel).as_deref(), Some("last"));
        assert_eq!(line(&mut channel), None);
        assert_eq!(channel.content(), b"first\nf00 x\nf00 1x\nlast");
    }

    #[test]
    fn all_of_it_without_a_mark() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut channel =
            Channel::listen(directory.path(), Stream::Console, "").expect("a channel");
        let mut guest = UnixStream::connect(channel.path()).expect("connected");
        guest.write_all(b"one\ntwo").expect("written");
        channel.pump().expect("read");
        assert_eq!(channel.line().as_deref(), Some(&b"one\n"[..]));
        assert_eq!(channel.line(), None);
        drop(guest);
        channel.pump().expect("read");
        assert_eq!(channel.line().as_deref(), Some(&b"two"[..]));
        assert_eq!(channel.content(), b"one\ntwo");
    }
}
