// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Standard output.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use zeroize::{Zeroize, Zeroizing};

use crate::error::Error;

/// Writes a result, without a buffer that would keep a secret, or hide that the
/// disk is full until it is too late to say so.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Error> {
    let unbuffered = std::io::stdout().as_fd().try_clone_to_owned();
    unbuffered
        .and_then(|stdout| File::from(stdout).write_all(bytes))
        .map_err(Error::Output)
}

/// Many results that are written together, from memory that is wiped.
///
/// What has been added is written by [`Gathered::write`], or when there is no room for
/// more.
pub(crate) struct Gathered(Zeroizing<Vec<u8>>);

impl Gathered {
    /// What a pipe holds, so that whoever reads from one is kept at work.
    const ROOM: usize = 64 * 1024;

    pub(crate) fn new() -> Self {
        // Of this size from the start: growing would leave copies behind.
        Self(Zeroizing::new(Vec::with_capacity(Self::ROOM)))
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > Self::ROOM - self.0.len() {
            self.write()?;
        }
        if bytes.len() > Self::ROOM {
            return print(bytes);
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes it. Whether that succeeds or not, it is not here any more.
    pub(crate) fn write(&mut self) -> Result<(), Error> {
        let written = print(&self.0);
        self.0.zeroize();
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_what_was_written() {
        let mut gathered = Gathered::new();
        let memory = gathered.0.as_ptr();
        gathered.add(b"\n").unwrap();
        assert_eq!(*gathered.0, b"\n");
        gathered.write().unwrap();
        assert!(gathered.0.is_empty());
        // In the same place, with zeros.
        gathered.0.resize(Gathered::ROOM, 1);
        assert_eq!(gathered.0.as_ptr(), memory);
    }
}
