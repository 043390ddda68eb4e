// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The file that a thread executes, by a handle of it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tpm_derived_keys::identity::Subject;

use super::{AskerError, errno, number, own_link};

/// An executable as it was when it was looked at.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) executable: Executable,
    /// Whether it had its name here, too.
    pub(super) named: Result<(), AskerError>,
    /// The same file, to be read.
    pub(super) content: Result<File, AskerError>,
}

/// The file that a thread executes.
#[derive(Debug)]
pub(super) struct Executable {
    pub(super) handle: OwnedFd,
    pub(super) name: Option<Vec<u8>>,
    pub(super) version: Version,
}

impl Executable {
    /// Makes sure that its name means the same file here, in the initial mount
    /// namespace, as where it runs, and is the file's canonical name here. A chroot
    /// or mount namespace could lend it any name else.
    pub(super) fn has_its_name_here(&self) -> Result<(), AskerError> {
        let name = self.name.as_deref().ok_or(AskerError::Name)?;
        let here = openat(
            CWD,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|_| AskerError::Borrowed)?;
        let canonical = readlinkat(CWD, own_link(&here), Vec::new()).map_err(AskerError::read)?;
        if canonical.as_bytes() != name || Version::of(&here)? != self.version {
            return Err(AskerError::Borrowed);
        }
        Ok(())
    }

    /// Whether the file and its name are what they were; by the open handle, which
    /// the kernel calls as it calls `/proc/<thread>/exe`.
    pub(super) fn is_as_it_was(&self) -> Result<bool, AskerError> {
        let name = match readlinkat(CWD, own_link(&self.handle), Vec::new()) {
            Ok(name) => Some(name.into_bytes()),
            Err(Errno::NAMETOOLONG) => None,
            Err(error) => return Err(AskerError::Read(error)),
        };
        Ok(name == self.name && Version::of(&self.handle)? == self.version)
    }
}

impl Seen {
    /// The longest file that is hashed, in bytes: whoever asks has root read it.
    pub(super) const MOST: i64 = 1 << 30;

    /// The digest that fs-verity holds its content to.
    pub(super) fn verity(&self) -> Result<Subject, AskerError> {
        let file = self.content.as_ref().map_err(Clone::clone)?;
        let (algorithm, digest) =
            tdk_sys::measure_verity(file).map_err(|error| AskerError::NoVerity(errno(&error)))?;
        Subject::verity(algorithm, &digest).map_err(|_| AskerError::VerityAlgorithm(algorithm))
    }

    /// SHA-256 of its content, read through the handle.
    pub(super) fn sha256(&self) -> Result<[u8; 32], AskerError> {
        let size = self.executable.version.size;
        if size > Self::MOST {
            return Err(AskerError::TooLarge(size));
        }
        let file = self.content.as_ref().map_err(Clone::clone)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 128 * 1024];
        // A file that grows meanwhile has changed; it is not read to its end.
        let mut at = 0;
        while number(at) <= size {
            match file.read_at(&mut buffer, at) {
                Ok(0) => return Ok(hash.finalize().into()),
                Ok(count) => {
                    hash.update(&buffer[..count]);
                    at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(AskerError::Read(errno(&error))),
            }
        }
        Err(AskerError::Changed)
    }
}

/// A file, and a state of its content: what changes when either does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) links: i64,
    pub(super) mode: u32,
    pub(super) size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    pub(super) fn of(fd: &OwnedFd) -> Result<Self, AskerError> {
        let stat: Stat = fstat(fd).map_err(AskerError::read)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(AskerError::NoExecutable);
        }
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            links: number(stat.st_nlink),
            mode: stat.st_mode,
            size: stat.st_size,
            modified: (stat.st_mtime, number(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, number(stat.st_ctime_nsec)),
        })
    }
}
