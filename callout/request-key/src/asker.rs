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
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tpm_derived_keys::identity::{Kind, Subject};
use tpm_derived_keys::policy::Doubts;

use crate::cgroup;
use crate::failure::{self, Failure};
use crate::proc_keys;

mod auxv;
mod doubts;
mod facts;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod mapped;
mod mounts;

const PROC: &str = "/proc";

/// More is not read of what the kernel says of an asker, who may have a hand in how long
/// that is.
const MOST_READ: u64 = 4 * 1024 * 1024;

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
    /// The thread that waits for key `serial`, whose authorisation key is one of
    /// `candidates`.
    pub(crate) fn of_key(serial: i32, candidates: &[i32]) -> Result<Self, AskerError> {
        let keys = std::fs::read(Path::new(PROC).join("keys"))
            .map_err(|error| AskerError::ProcKeys(errno(&error)))?;
        match proc_keys::asker_of(serial, candidates, &keys) {
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

    /// What its executable is called where it runs, for the log; and whether
    /// that is what the file is called here.
    pub(crate) fn shown_executable(&self) -> (Vec<u8>, bool) {
        let name = self.link().ok().flatten().unwrap_or_default();
        let executable = self.executable();
        let known = executable.is_ok_and(|executable| {
            executable.name.as_ref() == Some(&name) && executable.has_its_name_here().is_ok()
        });
        (name, known)
    }

    /// The filesystem uid of the thread.
    pub(crate) fn fsuid(&self) -> Result<u32, AskerError> {
        fsuid(&self.read("status")?)
    }

    /// Makes sure that the thread runs as `uid`, and looks at it: at its executable,
    /// and at what there is to doubt about it. From here on the executable is the one
    /// that was seen, or there is none, and nothing more is opened.
    pub(crate) fn check(self, uid: u32) -> Result<Checked, AskerError> {
        let status = self.read("status")?;
        let fsuid = fsuid(&status)?;
        if fsuid != uid {
            return Err(AskerError::Uid {
                asked_for: uid,
                thread: fsuid,
            });
        }
        let mut doubts = self.doubts(&status)?;
        let executable = self.executable().map(|executable| {
            let named = executable.has_its_name_here();
            self.doubt_executable(&mut doubts, &status, &executable, named.is_ok());
            let content = File::open(own_link(&executable.handle));
            Seen {
                executable,
                named,
                content: content.map_err(|error| AskerError::Read(errno(&error))),
            }
        });
        Ok(Checked {
            cgroup: self.read_bytes("cgroup"),
            label: self.read_bytes("attr/current"),
            status,
            uid,
            executable,
            doubts,
        })
    }

    /// Who traces a thread of its process, if somebody does.
    fn tracer(&self, status: &str) -> Result<Option<u32>, AskerError> {
        let tracer = |status: &str| match field(status, "TracerPid:", 0) {
            Some(0) => Ok(None),
            Some(tracer) => Ok(Some(tracer)),
            None => Err(AskerError::Status),
        };
        if let Some(tracer) = tracer(status)? {
            return Ok(Some(tracer));
        }
        let tasks = openat(
            &self.directory,
            "task",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| self.error(error))?;
        for task in Dir::read_from(tasks).map_err(|error| self.error(error))? {
            let task = task.map_err(|error| self.error(error))?;
            let name = task.file_name().to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            match self.read(&format!("task/{name}/status")) {
                Ok(status) => {
                    if let Some(tracer) = tracer(&status)? {
                        return Ok(Some(tracer));
                    }
                }
                // A thread that has ended is not traced any more.
                Err(AskerError::Gone(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// A file of the thread's directory. Names of threads need not be text.
    fn read(&self, name: &str) -> Result<String, AskerError> {
        let content = self.read_bytes(name)?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    fn read_bytes(&self, name: &str) -> Result<Vec<u8>, AskerError> {
        let mut content = Vec::new();
        let mut file = self.open(name)?.take(MOST_READ);
        file.read_to_end(&mut content)
            .map_err(|error| self.error(errno(&error)))?;
        Ok(content)
    }

    /// A file of the thread's directory, to read.
    fn open(&self, name: &str) -> Result<File, AskerError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(&self.directory, name, flags, Mode::empty())
            .map(File::from)
            .map_err(|error| self.error(error))
    }

    fn error(&self, error: Errno) -> AskerError {
        match error {
            Errno::SRCH | Errno::NOENT => AskerError::Gone(self.thread),
            other => AskerError::Read(other),
        }
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
            other => self.error(other),
        })?;
        let name = self.link()?;
        let version = Version::of(&handle).map_err(|error| match error {
            AskerError::Read(Errno::ACCESS) => AskerError::Closed,
            other => other,
        })?;
        let deleted = name.as_ref().is_some_and(|name| name.ends_with(DELETED));
        if version.links == 0 || deleted {
            return Err(AskerError::Deleted);
        }
        Ok(Executable {
            handle,
            name,
            version,
        })
    }

    /// The executable's path as its own mount namespace has it; nothing if that
    /// is longer than the kernel can tell.
    fn link(&self) -> Result<Option<Vec<u8>>, AskerError> {
        match readlinkat(&self.directory, "exe", Vec::new()) {
            Ok(name) => Ok(Some(name.into_bytes())),
            Err(Errno::NAMETOOLONG) => Ok(None),
            Err(Errno::NOENT) => Err(AskerError::NoExecutable),
            Err(error) => Err(self.error(error)),
        }
    }
}

/// An asker that has been checked, and so can be identified.
#[derive(Debug)]
pub(crate) struct Checked {
    uid: u32,
    executable: Result<Seen, AskerError>,
    doubts: Doubts,
    /// Files of `/proc/<thread>`, as they were.
    status: String,
    cgroup: Result<Vec<u8>, AskerError>,
    label: Result<Vec<u8>, AskerError>,
}

/// An executable as it was when it was looked at.
#[derive(Debug)]
struct Seen {
    executable: Executable,
    /// Whether it had its name here, too.
    named: Result<(), AskerError>,
    /// The same file, to be read.
    content: Result<File, AskerError>,
}

impl Checked {
    /// The uid that it asks as.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Why it may not be who it seems to be.
    pub(crate) fn doubts(&self) -> &Doubts {
        &self.doubts
    }

    /// What it can be known by.
    pub(crate) fn subject(&self, kind: Kind) -> Result<Subject, AskerError> {
        match kind {
            Kind::Id => Ok(Subject::Id),
            Kind::Path => Subject::path(&self.name()?).map_err(|_| AskerError::Name),
            Kind::Csum => self.with_executable(|seen| seen.sha256().map(Subject::Csum)),
            Kind::Cgroup => self.cgroup(),
            Kind::Verity => self.with_executable(Seen::verity),
        }
    }

    /// The cgroup that the thread is in, as the initial cgroup namespace has it,
    /// which is this program's.
    fn cgroup(&self) -> Result<Subject, AskerError> {
        match cgroup::v2_path(self.cgroup.as_ref().map_err(Clone::clone)?) {
            None => Err(AskerError::NoCgroup),
            Some(b"/") => Err(AskerError::RootCgroup),
            Some(path) => Subject::cgroup(path).map_err(|_| AskerError::CgroupName),
        }
    }

    /// The executable's path, in the initial mount namespace as well.
    fn name(&self) -> Result<Vec<u8>, AskerError> {
        self.with_executable(|seen| {
            seen.named.clone()?;
            seen.executable.name.clone().ok_or(AskerError::Name)
        })
    }

    /// Takes something from the executable, and makes sure that it is still the same
    /// afterwards.
    fn with_executable<T>(
        &self,
        take: impl FnOnce(&Seen) -> Result<T, AskerError>,
    ) -> Result<T, AskerError> {
        let seen = self.executable.as_ref().map_err(Clone::clone)?;
        let taken = take(seen)?;
        if seen.executable.is_as_it_was()? {
            Ok(taken)
        } else {
            Err(AskerError::Changed)
        }
    }
}

/// The filesystem uid, of `/proc/<thread>/status`.
fn fsuid(status: &str) -> Result<u32, AskerError> {
    field(status, "Uid:", 3).ok_or(AskerError::Status)
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
    name: Option<Vec<u8>>,
    version: Version,
}

impl Executable {
    /// Makes sure that its name means the same file here, in the initial mount
    /// namespace, as where it runs, and is the file's canonical name here. A chroot
    /// or mount namespace could lend it any name else.
    fn has_its_name_here(&self) -> Result<(), AskerError> {
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
    fn is_as_it_was(&self) -> Result<bool, AskerError> {
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
    const MOST: i64 = 1 << 30;

    /// The digest that fs-verity holds its content to.
    fn verity(&self) -> Result<Subject, AskerError> {
        let file = self.content.as_ref().map_err(Clone::clone)?;
        let (algorithm, digest) =
            tdk_sys::measure_verity(file).map_err(|error| AskerError::NoVerity(errno(&error)))?;
        Subject::verity(algorithm, &digest).map_err(|_| AskerError::VerityAlgorithm(algorithm))
    }

    /// SHA-256 of its content, read through the handle.
    fn sha256(&self) -> Result<[u8; 32], AskerError> {
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

/// What a system call has said.
fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
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
    mode: u32,
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
            mode: stat.st_mode,
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
    fn read(error: Errno) -> Self {
        Self::Read(error)
    }

    fn errno(&self) -> failure::Errno {
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

#[cfg(test)]
#[path = "asker_tests.rs"]
mod tests;
