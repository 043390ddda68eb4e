// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a simulated TPM: its seeds, its counters, its NV memory.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::SimError;

/// The file with what a TPM keeps in non-volatile memory.
pub(crate) const PERMANENT: &str = "tpm2-00.permall";
/// The file with what a TPM keeps while it has power. It is there only if
/// swtpm was told, on its control channel, to write it.
const VOLATILE: &str = "tpm2-00.volatilestate";

/// Where the state of a new [`Swtpm`](crate::Swtpm) comes from.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum StateSource {
    /// A newly made TPM, in a temporary directory.
    #[default]
    Fresh,
    /// The state in this existing directory, used in place and kept; a newly
    /// made TPM if the directory has none.
    InPlace(PathBuf),
    /// A copy, in a temporary directory, of the state in this directory. A TPM
    /// may be running on it: see [`Swtpm::save`](crate::Swtpm::save).
    CopyOf(PathBuf),
    /// The state of a TPM that was [stopped](crate::Swtpm::stop), used in
    /// place.
    Resume(State),
}

impl StateSource {
    pub(crate) fn prepare(self) -> Result<State, SimError> {
        match self {
            Self::Fresh => State::temporary(),
            Self::InPlace(dir) => State::at(&dir),
            Self::CopyOf(dir) => {
                let state = State::temporary()?;
                copy(&dir, state.dir())?;
                Ok(state)
            }
            Self::Resume(state) => Ok(state),
        }
    }
}

/// The state of a TPM that does not run, in a directory.
///
/// The directory is removed with this value if it was made for a TPM, as for
/// [`StateSource::Fresh`] and [`StateSource::CopyOf`].
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    /// Only there to be dropped.
    _temporary: Option<TempDir>,
}

impl State {
    /// The state that was saved in `dir`.
    ///
    /// # Errors
    ///
    /// [`SimError::NoState`] if there is none.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, SimError> {
        let state = Self::at(dir.as_ref())?;
        if state.dir.join(PERMANENT).is_file() {
            Ok(state)
        } else {
            Err(SimError::NoState { dir: state.dir })
        }
    }

    /// The directory with the state's files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Copies the state to the directory `dest`, in place of a state that is
    /// there. The directory is made, for its owner only, if it is missing.
    ///
    /// # Errors
    ///
    /// [`SimError::NoState`] if there is nothing to copy,
    /// [`SimError::StateInUse`] if a TPM runs on the state in `dest`, or
    /// [`SimError::Io`].
    pub fn save(&self, dest: impl AsRef<Path>) -> Result<Self, SimError> {
        copy(&self.dir, dest.as_ref())?;
        Self::at(dest.as_ref())
    }

    /// Replaces this state by a saved one.
    ///
    /// # Errors
    ///
    /// As for [`State::save`].
    pub fn restore(&self, saved: &Self) -> Result<(), SimError> {
        copy(&saved.dir, &self.dir)
    }

    fn at(dir: &Path) -> Result<Self, SimError> {
        // Given a relative path, swtpm's TPM goes into failure mode.
        let dir = std::path::absolute(dir).map_err(SimError::path("finding", dir))?;
        Ok(Self {
            dir,
            _temporary: None,
        })
    }

    fn temporary() -> Result<Self, SimError> {
        let temporary = tempfile::Builder::new()
            .prefix("tdk-sim-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(SimError::path(
                "making a directory in",
                &std::env::temp_dir(),
            ))?;
        let state = Self::at(temporary.path())?;
        Ok(Self {
            _temporary: Some(temporary),
            ..state
        })
    }
}

/// Keeps other simulated TPMs off the state in a directory until it is dropped.
///
/// swtpm has a lock as well, but takes it late: a second swtpm removes the
/// sockets of the first before it finds that the state is in use.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    pub(crate) fn take(dir: &Path) -> Result<Self, SimError> {
        let directory = File::open(dir).map_err(SimError::path("opening the directory", dir))?;
        match directory.try_lock() {
            Ok(()) => Ok(Self(directory)),
            Err(TryLockError::WouldBlock) => Err(SimError::StateInUse {
                dir: dir.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(SimError::path("locking", dir)(source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough while a process that another thread
        // is starting has a copy of its descriptor.
        let _ = self.0.unlock();
    }
}

/// Copies a state from one directory to another, which is made if missing.
///
/// The TPM in `from` may be running. swtpm (0.7.1, by its system calls) writes
/// a whole new file `TMP2-00.permall` and renames it to `tpm2-00.permall`,
/// each time a command changes the non-volatile memory, and before it answers
/// that command. So an open `tpm2-00.permall` never changes, and it has all
/// that the answered commands did. Some things a TPM writes only when it is
/// shut down in order, such as its clock and its orderly NV counters: a copy
/// taken of a running TPM is that of one that lost its power.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), SimError> {
    let permanent = read(&from.join(PERMANENT))?.ok_or_else(|| SimError::NoState {
        dir: from.to_owned(),
    })?;
    let volatile = read(&from.join(VOLATILE))?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(to)
        .map_err(SimError::path("making the directory", to))?;
    let _lock = Lock::take(to)?;
    write(&to.join(PERMANENT), &permanent)?;
    let path = to.join(VOLATILE);
    match volatile {
        Some(volatile) => write(&path, &volatile),
        None => remove(&path),
    }
}

/// The content of a file, or `None` if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, SimError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SimError::path("reading", path)(error)),
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), SimError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(SimError::path("writing", path))
}

fn remove(path: &Path) -> Result<(), SimError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SimError::path("removing", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> Vec<String> {
        let mut files: Vec<_> = fs::read_dir(dir)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.into_string().expect("UTF-8"))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_copy_has_the_state_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("a/b"));
        fs::create_dir(&from).expect("a directory");
        for name in [PERMANENT, VOLATILE, ".lock", "sock", "TMP2-00.permall"] {
            fs::write(from.join(name), name).expect("a file");
        }
        let state = State::open(&from).expect("a state");

        let saved = state.save(&to).expect("saved");
        assert_eq!(files(saved.dir()), [PERMANENT, VOLATILE]);
        let mode = fs::metadata(&to).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);

        // Without volatile state in the source, none is left in the copy.
        fs::remove_file(from.join(VOLATILE)).expect("removed");
        fs::write(from.join(PERMANENT), "other").expect("a file");
        saved.restore(&state).expect("restored");
        assert_eq!(files(saved.dir()), [PERMANENT]);
        assert_eq!(fs::read(to.join(PERMANENT)).expect("a file"), b"other");

        // A copy onto itself loses nothing.
        saved.save(&to).expect("saved");
        assert_eq!(fs::read(to.join(PERMANENT)).expect("a file"), b"other");
    }

    #[test]
    fn no_state() {
        let dir = tempfile::tempdir().expect("a directory");
        let error = State::open(dir.path()).expect_err("empty");
        assert!(matches!(error, SimError::NoState { .. }), "{error}");
        let error = copy(dir.path(), &dir.path().join("new")).expect_err("empty");
        assert!(matches!(error, SimError::NoState { .. }), "{error}");
        assert!(files(dir.path()).is_empty());
    }

    #[test]
    fn a_locked_state_is_not_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for dir in [&from, &to] {
            fs::create_dir(dir).expect("a directory");
            fs::write(dir.join(PERMANENT), "x").expect("a file");
        }
        let held = Lock::take(&to).expect("free");
        let error = copy(&from, &to).expect_err("locked");
        assert!(matches!(error, SimError::StateInUse { .. }), "{error}");
        drop(held);
        copy(&from, &to).expect("free");
    }
}
