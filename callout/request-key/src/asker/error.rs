// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why nobody was identified, and what to do about it.

use std::fmt;

use rustix::io::Errno;

use super::Seen;
use crate::failure::{self, Failure};

/// Why nobody was identified.
#[derive(Clone, Debug)]
pub(crate) enum AskerError {
    /// `/proc/keys` can't be read.
    ProcKeys(Errno),
    /// No thread waits for that key.
    Nobody(i32),
    /// More than one line of `/proc/keys` claims that key.
    Disputed(i32),
    /// The thread has ended.
    Gone(u32),
    /// The thread's status is not as the kernel writes it.
    Status,
    /// The thread runs as another user than the key is asked for.
    Uid { asked_for: u32, thread: u32 },
    /// The thread has no executable file.
    NoExecutable,
    /// The executable has been deleted or replaced.
    Deleted,
    /// The executable is on a file system that root may not look at.
    Closed,
    /// The executable is another file here.
    Borrowed,
    /// The executable changed while it was looked at.
    Changed,
    /// The executable's path is none that an identity can have.
    Name,
    /// The executable has that many bytes, more than are hashed for an asker.
    TooLarge(i64),
    /// Something of the asker can't be read.
    Read(Errno),
    /// There is no cgroup v2 hierarchy.
    NoCgroup,
    /// The asker is in the cgroup that everybody is in at first.
    RootCgroup,
    /// The cgroup's path is none that an identity can have.
    CgroupName,
    /// The executable has no fs-verity digest.
    NoVerity(Errno),
    /// The executable has one by another algorithm than identities have.
    VerityAlgorithm(u16),
}

impl AskerError {
    pub(super) fn read(error: Errno) -> Self {
        Self::Read(error)
    }

    pub(super) fn errno(&self) -> failure::Errno {
        match self {
            Self::ProcKeys(_) | Self::Nobody(_) | Self::Gone(_) | Self::Status | Self::Read(_) => {
                failure::Errno::Failed
            }
            Self::Disputed(_)
            | Self::Uid { .. }
            | Self::NoExecutable
            | Self::Deleted
            | Self::Closed
            | Self::Borrowed
            | Self::Changed
            | Self::TooLarge(_)
            | Self::NoCgroup
            | Self::RootCgroup
            | Self::CgroupName
            | Self::NoVerity(_)
            | Self::VerityAlgorithm(_)
            | Self::Name => failure::Errno::Refused,
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::ProcKeys(_) => "mount proc at /proc",
            Self::Nobody(_) => "this program is for /sbin/request-key to run",
            Self::Uid { .. } => "ask from the program that is to have the key, not through another",
            Self::Deleted | Self::Changed => "restart the program",
            Self::Closed => "put it on another file system, or ask with id",
            Self::Borrowed => "ask from the initial mount namespace, or with csum instead of path",
            Self::TooLarge(_) => "ask with path instead of csum",
            Self::NoExecutable | Self::Name => "ask with id instead of path or csum",
            Self::NoCgroup => "mount cgroup2 as the only hierarchy, or ask with path, csum or id",
            Self::RootCgroup | Self::CgroupName => {
                "start it as a service of its own, or ask with path, csum or id"
            }
            Self::NoVerity(_) => "enable it, as fsverity(1) does, or ask with path, csum or id",
            Self::VerityAlgorithm(_) => "enable it with SHA-256 or SHA-512",
            Self::Disputed(_) | Self::Gone(_) | Self::Status | Self::Read(_) => "",
        }
    }
}

impl fmt::Display for AskerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProcKeys(error) => write!(f, "can't read /proc/keys: {error}"),
            Self::Nobody(serial) => write!(f, "nobody waits for key {serial}"),
            Self::Disputed(serial) => write!(
                f,
                "several lines of /proc/keys claim key {serial}; somebody's key has a line of \
                 that file in its description"
            ),
            Self::Gone(thread) => write!(f, "the asker, thread {thread}, is gone"),
            Self::Status => write!(f, "the asker's status in /proc is not understood"),
            Self::Uid { asked_for, thread } => write!(
                f,
                "the key is asked for as uid {asked_for}, but the asker runs as uid {thread}"
            ),
            Self::NoExecutable => write!(f, "the asker has no executable file"),
            Self::Deleted => write!(f, "the asker's executable has been deleted or replaced"),
            Self::Closed => write!(
                f,
                "the asker's executable is on a file system that not even root may look at, as \
                 FUSE's without allow_other"
            ),
            Self::Borrowed => write!(
                f,
                "the path of the asker's executable is not, or not the canonical, path of that \
                 file in the initial mount namespace"
            ),
            Self::Changed => write!(f, "the asker's executable changed meanwhile"),
            Self::Name => write!(f, "the path of the asker's executable can't be an identity"),
            Self::TooLarge(size) => write!(
                f,
                "the asker's executable has {size} bytes; at most {} are hashed",
                Seen::MOST
            ),
            Self::Read(error) => write!(f, "can't look at the asker: {error}"),
            Self::NoCgroup => write!(f, "this system has no cgroup v2 hierarchy"),
            Self::RootCgroup => write!(f, "the asker is in the root cgroup, as anybody can be"),
            Self::CgroupName => write!(f, "the path of the asker's cgroup can't be an identity"),
            Self::NoVerity(error) => {
                write!(f, "the asker's executable has no fs-verity digest: {error}")
            }
            Self::VerityAlgorithm(number) => write!(
                f,
                "the fs-verity digest of the asker's executable is by algorithm {number}"
            ),
        }
    }
}

impl From<AskerError> for Failure {
    fn from(error: AskerError) -> Self {
        Self::new(error.errno(), &error, error.hint())
    }
}
