// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who asks, according to `/proc`. The only module that reads it.
//!
//! The asker's thread sleeps in the kernel until this program ends, so its
//! thread id can't pass to another and it can't exec. Other threads of its
//! process run on, and may try to change what is seen here; so everything about
//! the executable comes from one open handle, and is looked at again at the end.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tpm_derived_keys::identity::{Kind, Subject};

use crate::failure::{self, Failure};
use crate::proc_keys;

const PROC: &str = "/proc";

/// What a name in `/proc` ends in when the file has been removed.
const DELETED: &[u8] = b" (deleted)";

/// A thread that waits for a key.
#[derive(Debug)]
pub(crate) struct Asker {
    thread: u32,
    /// `/proc/<thread>`: answers ESRCH once the thread is gone, whoever has its
    /// number then.
    directory: OwnedFd,
}

impl Asker {
    /// The thread that waits for key `serial`.
    pub(crate) fn of_key(serial: i32) -> Result<Self, AskerError> {
        let keys = std::fs::read(Path::new(PROC).join("keys")).map_err(AskerError::ProcKeys)?;
        match proc_keys::asker_of(serial, &keys) {
            proc_keys::Asker::Thread(thread) => Self::of_thread(thread),
            proc_keys::Asker::Nobody => Err(AskerError::Nobody(serial)),
            proc_keys::Asker::Disputed => Err(AskerError::Disputed(serial)),
        }
    }

    /// A thread, by its id in the initial PID namespace.
    pub(crate) fn of_thread(thread: u32) -> Result<Self, AskerError> {
        let directory = openat(
            CWD,
            format!("{PROC}/{thread}"),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|_| AskerError::Gone(thread))?;
        Ok(Self { thread, directory })
    }

    /// The thread id.
    pub(crate) fn thread(&self) -> u32 {
        self.thread
    }

    /// What its executable is called where it runs, for the log only.
    pub(crate) fn shown_executable(&self) -> Vec<u8> {
        self.link().unwrap_or_default()
    }

    /// Makes sure that the thread runs as `uid`, in the initial user namespace,
    /// and is nobody's puppet.
    pub(crate) fn check(&self, uid: u32) -> Result<(), AskerError> {
        let mut status = String::new();
        let file = openat(
            &self.directory,
            "status",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        file.map_err(io::Error::from)
            .and_then(|file| File::from(file).read_to_string(&mut status))
            .map_err(|_| AskerError::Gone(self.thread))?;

        let fsuid = field(&status, "Uid:", 3).ok_or(AskerError::Status)?;
        if fsuid != uid {
            return Err(AskerError::Uid {
                asked_for: uid,
                thread: fsuid,
            });
        }
        match field(&status, "TracerPid:", 0).ok_or(AskerError::Status)? {
            0 => {}
            tracer => return Err(AskerError::Traced(tracer)),
        }
        let its = readlinkat(&self.directory, "ns/user", Vec::new())
            .map_err(|_| AskerError::Gone(self.thread))?;
        let initial = readlinkat(CWD, format!("{PROC}/self/ns/user"), Vec::new())
            .map_err(|_| AskerError::Status)?;
        if its != initial {
            return Err(AskerError::UserNamespace);
        }
        Ok(())
    }

    /// What it can be known by.
    pub(crate) fn subject(&self, kind: Kind) -> Result<Subject, AskerError> {
        match kind {
            Kind::Id => Ok(Subject::Id),
            Kind::Path => self.with_executable(|executable| {
                executable.is_what_its_name_names_here()?;
                Subject::path(&executable.name).map_err(|_| AskerError::Name)
            }),
            Kind::Csum => self.with_executable(|executable| {
                executable
                    .sha256()
                    .map(Subject::Csum)
                    .map_err(AskerError::Read)
            }),
            Kind::Cgroup | Kind::Verity => Err(AskerError::NotServed(kind)),
        }
    }

    /// Opens the executable, takes something from it, and makes sure that it is
    /// still the same afterwards.
    fn with_executable<T>(
        &self,
        take: impl FnOnce(&Executable) -> Result<T, AskerError>,
    ) -> Result<T, AskerError> {
        let executable = self.executable()?;
        let taken = take(&executable)?;
        let again = self.executable()?;
        if again != executable || Version::of(&executable.handle)? != executable.version {
            return Err(AskerError::Changed);
        }
        Ok(taken)
    }

    fn executable(&self) -> Result<Executable, AskerError> {
        let handle = openat(
            &self.directory,
            "exe",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| match error {
            Errno::NOENT => AskerError::NoExecutable,
            Errno::SRCH => AskerError::Gone(self.thread),
            other => AskerError::Read(other.into()),
        })?;
        let name = self.link()?;
        let version = Version::of(&handle)?;
        if version.links == 0 || name.ends_with(DELETED) {
            return Err(AskerError::Deleted);
        }
        Ok(Executable {
            handle,
            name,
            version,
        })
    }

    fn link(&self) -> Result<Vec<u8>, AskerError> {
        readlinkat(&self.directory, "exe", Vec::new())
            .map(std::ffi::CString::into_bytes)
            .map_err(|error| match error {
                Errno::NOENT => AskerError::NoExecutable,
                _ => AskerError::Gone(self.thread),
            })
    }
}

/// A number behind a name of `/proc/<thread>/status`.
fn field(status: &str, name: &str, index: usize) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().nth(index)?.parse().ok()
}

/// The file that a thread executes.
#[derive(Debug)]
struct Executable {
    handle: OwnedFd,
    /// Its path as its own mount namespace has it.
    name: Vec<u8>,
    version: Version,
}

impl PartialEq for Executable {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.version == other.version
    }
}

impl Executable {
    /// Makes sure that its name means the same file here, in the initial mount
    /// namespace, as where it runs, and is the file's canonical name here. A
    /// chroot or mount namespace could lend it any name else.
    fn is_what_its_name_names_here(&self) -> Result<(), AskerError> {
        let here = openat(
            CWD,
            self.name.as_slice(),
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|_| AskerError::Borrowed)?;
        let canonical = readlinkat(CWD, own_link(&here), Vec::new()).map_err(AskerError::read)?;
        if canonical.as_bytes() != self.name || Version::of(&here)? != self.version {
            return Err(AskerError::Borrowed);
        }
        Ok(())
    }

    /// SHA-256 of its content, read through the handle.
    fn sha256(&self) -> io::Result<[u8; 32]> {
        let mut file = File::open(own_link(&self.handle))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hash.finalize().into()),
                Ok(count) => hash.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The magic link that stands for an open file, whatever its name.
fn own_link(fd: &OwnedFd) -> String {
    format!("{PROC}/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// A file, and a state of its content: what changes when either does.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    links: i64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(fd: &OwnedFd) -> Result<Self, AskerError> {
        let stat: Stat = fstat(fd).map_err(AskerError::read)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(AskerError::NoExecutable);
        }
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            links: number(stat.st_nlink),
            size: stat.st_size,
            modified: (stat.st_mtime, number(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, number(stat.st_ctime_nsec)),
        })
    }
}

/// Of one width or another, signed or not, according to the architecture.
fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// Why nobody was identified.
#[derive(Debug)]
pub(crate) enum AskerError {
    /// `/proc/keys` can't be read.
    ProcKeys(io::Error),
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
    /// The thread is traced.
    Traced(u32),
    /// The thread is not in the initial user namespace.
    UserNamespace,
    /// The thread has no executable file.
    NoExecutable,
    /// The executable has been deleted or replaced.
    Deleted,
    /// The executable is another file here.
    Borrowed,
    /// The executable changed while it was looked at.
    Changed,
    /// The executable's path is none that an identity can have.
    Name,
    /// The executable can't be read.
    Read(io::Error),
    /// This release can't tell that.
    NotServed(Kind),
}

impl AskerError {
    fn read(error: Errno) -> Self {
        Self::Read(error.into())
    }

    fn errno(&self) -> failure::Errno {
        match self {
            Self::ProcKeys(_) | Self::Nobody(_) | Self::Gone(_) | Self::Status | Self::Read(_) => {
                failure::Errno::Failed
            }
            Self::NotServed(_) => failure::Errno::Malformed,
            Self::Disputed(_)
            | Self::Uid { .. }
            | Self::Traced(_)
            | Self::UserNamespace
            | Self::NoExecutable
            | Self::Deleted
            | Self::Borrowed
            | Self::Changed
            | Self::Name => failure::Errno::Refused,
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::ProcKeys(_) => "mount proc at /proc",
            Self::Nobody(_) => "this program is for /sbin/request-key to run",
            Self::Uid { .. } => "ask from the program that is to have the key, not through another",
            Self::Traced(_) => "ask without a debugger",
            Self::UserNamespace => "ask from the initial user namespace",
            Self::Deleted | Self::Changed => "restart the program",
            Self::Borrowed => "ask from the initial mount namespace, or with csum instead of path",
            Self::NoExecutable | Self::Name => "ask with id instead of path or csum",
            Self::NotServed(_) => "ask with path, csum or id",
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
            Self::Traced(tracer) => write!(f, "the asker is traced by process {tracer}"),
            Self::UserNamespace => write!(f, "the asker is in a user namespace of its own"),
            Self::NoExecutable => write!(f, "the asker has no executable file"),
            Self::Deleted => write!(f, "the asker's executable has been deleted or replaced"),
            Self::Borrowed => write!(
                f,
                "the path of the asker's executable is not, or not the canonical, path of that \
                 file in the initial mount namespace"
            ),
            Self::Changed => write!(f, "the asker's executable changed meanwhile"),
            Self::Name => write!(f, "the path of the asker's executable can't be an identity"),
            Self::Read(error) => write!(f, "can't read the asker's executable: {error}"),
            Self::NotServed(kind) => {
                write!(f, "this release can't identify askers by {}", kind.word())
            }
        }
    }
}

impl From<AskerError> for Failure {
    fn from(error: AskerError) -> Self {
        Self::new(error.errno(), &error, error.hint())
    }
}

#[cfg(test)]
#[path = "asker_tests.rs"]
mod tests;
