// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who asks, according to `/proc`. The only module that reads it.
//!
//! The asker's thread sleeps in the kernel until this program ends, so its
//! thread id can't pass to another and it can't exec. Other threads of its
//! process run on, and may try to change what is seen here; so everything about
//! the executable comes from one open handle, and is looked at again at the end.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use tpm_derived_keys::identity::{Kind, Subject};
use tpm_derived_keys::policy::Doubts;

use crate::cgroup;
use crate::proc_keys;

mod auxv;
mod doubts;
mod error;
mod executable;
mod facts;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod mapped;
mod mounts;

pub(crate) use error::AskerError;
use executable::{Executable, Seen, Version};

const PROC: &str = "/proc";

/// More is not read of what the kernel says of an asker, who may have a hand in how long
/// that is.
const MOST_READ: u64 = 4 * 1024 * 1024;

/// With room for as much, most files of `/proc` are read at once.
const USUAL: usize = 4096;

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
    ///
    /// The kernel goes through all keys there are, and shows whoever opens the list those
    /// that it may look at. To nobody in particular these are few: those that everybody may
    /// look at, and A, which this process possesses. As root it would be shown root's as
    /// well, thousands perhaps.
    pub(crate) fn of_key(serial: i32, candidates: &[i32]) -> Result<Self, AskerError> {
        let list = tdk_sys::open_as_nobody(&Path::new(PROC).join("keys"));
        // The kernel makes a process that changes its user dumpable again, if
        // fs.suid_dumpable says so.
        tpm_derived_keys::no_core_dumps();
        let mut keys = Vec::with_capacity(USUAL);
        list.and_then(|mut list| list.read_to_end(&mut keys))
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
            // Its own status is known already.
            if name.starts_with('.') || name.parse() == Ok(self.thread) {
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
        let mut content = Vec::with_capacity(USUAL);
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

/// What a system call has said.
fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The magic link that stands for an open file, whatever its name.
fn own_link(fd: &OwnedFd) -> String {
    format!("{PROC}/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Of one width or another, signed or not, according to the architecture.
fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "asker_tests.rs"]
mod tests;
