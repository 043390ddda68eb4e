// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One at a time: who holds the lock may talk to the TPM.
//!
//! A software TPM serves one connection at a time, a TPM without resource
//! manager has three object slots, and a real one is slow. So everyone who runs
//! as root waits for a lock in a directory that only root can enter; nobody
//! else can take it and keep others waiting. Processes of other users (they
//! bring a software TPM of their own) go without.
//!
//! In the lock file stands the Name of the TPM's root key, whether one may be
//! loaded, or a sequence besides, and the handles of a storage key and a session that may be: so that the
//! next in line knows of what a killed process has left, and can tell it from what
//! is others'. And which file's password of the owner's the TPM has refused, so that
//! it is not tried again.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::owner_auth::Stamp;
use super::{Name, OwnerAuth, TpmError};

/// Where the locks are.
const DIRECTORY: &str = "/run/tdk";

/// The turn to talk to one TPM, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn(File);

/// What is loaded besides the root key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) storage_key: Option<u32>,
    pub(super) session: Option<u32>,
}

impl Noted {
    /// What is about to be loaded, and has no handle yet.
    pub(super) const COMING: u32 = u32::MAX;
}

impl Turn {
    /// Where the mark is: behind the Name.
    const MARK: u64 = Name::SIZE as u64;

    /// Behind the mark, where the handles are.
    const HANDLES: u64 = Self::MARK + 1;

    /// Behind the handles, where the file is told whose password was refused.
    const REFUSED: u64 = Self::HANDLES + 8;

    /// Behind that, where the handles of others are.
    const OTHERS: u64 = Self::REFUSED + 32;

    /// Waits for the turn at a chip, if this process is root's.
    pub(super) fn take(chip: &str, limit: Duration) -> Result<Option<Self>, TpmError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let file = Self::open(Path::new(DIRECTORY), chip).map_err(TpmError::Lock)?;
        Self::wait(file, limit).map(Some)
    }

    /// The Name that the last one remembered, if one has.
    pub(super) fn remembered(&self) -> Option<Name> {
        let mut name = [0; Name::SIZE];
        self.0.read_exact_at(&mut name, 0).ok()?;
        // A mark alone has zeros before it; a Name begins with its algorithm.
        (name[..2] != [0, 0]).then_some(Name(name))
    }

    /// Leaves the Name for those who come after.
    pub(super) fn remember(&self, name: Name) {
        if self.remembered() != Some(name) {
            self.write(name.as_bytes(), 0);
        }
    }

    /// Whether whoever had the turn last may have left a root key loaded.
    pub(super) fn is_unclean(&self) -> bool {
        let mut mark = [0];
        self.0.read_exact_at(&mut mark, Self::MARK).is_ok() && (mark == *b"!" || mark == *b"s")
    }

    /// Whether whoever had the turn last may have left a sequence loaded as well.
    pub(super) fn has_sequence(&self) -> bool {
        let mut mark = [0];
        self.0.read_exact_at(&mut mark, Self::MARK).is_ok() && mark == *b"s"
    }

    /// Says that a sequence may be loaded from now on, besides a root key.
    pub(super) fn mark_sequence(&self) {
        self.write(b"s", Self::MARK);
    }

    /// Says whether a root key may be loaded from now on.
    pub(super) fn mark(&self, unclean: bool) {
        self.write(if unclean { b"!" } else { b"." }, Self::MARK);
    }

    /// The handles that the last one has noted: of a storage key, and of a
    /// session.
    pub(super) fn noted(&self) -> Noted {
        let mut bytes = [0; 8];
        match self.0.read_exact_at(&mut bytes, Self::HANDLES) {
            Ok(()) => {
                let (storage_key, session) = bytes.split_at(4);
                let handle = |bytes: &[u8]| {
                    let handle = u32::from_be_bytes(bytes.try_into().ok()?);
                    (handle != 0).then_some(handle)
                };
                Noted {
                    storage_key: handle(storage_key),
                    session: handle(session),
                }
            }
            Err(_) => Noted::default(),
        }
    }

    /// What had been loaded before by others, as the last one has noted: the handles
    /// of objects, and of sessions.
    pub(super) fn others(&self) -> Option<(Vec<u32>, Vec<u32>)> {
        let mut counts = [0; 2];
        self.0.read_exact_at(&mut counts, Self::OTHERS).ok()?;
        let [objects, sessions] = counts.map(usize::from);
        let mut bytes = vec![0; 4 * (objects + sessions)];
        self.0.read_exact_at(&mut bytes, Self::OTHERS + 2).ok()?;
        let (handles, _) = bytes.as_chunks();
        let mut handles: Vec<_> = handles
            .iter()
            .map(|bytes| u32::from_be_bytes(*bytes))
            .collect();
        let sessions = handles.split_off(objects);
        Some((handles, sessions))
    }

    /// Leaves these handles for those who come after.
    pub(super) fn note_others(&self, objects: &[u32], sessions: &[u32]) {
        let count = |handles: &[u32]| u8::try_from(handles.len()).ok();
        if let (Some(first), Some(second)) = (count(objects), count(sessions)) {
            let mut bytes = vec![first, second];
            for handle in objects.iter().chain(sessions) {
                bytes.extend(handle.to_be_bytes());
            }
            self.write(&bytes, Self::OTHERS);
        }
    }

    /// Leaves those handles for those who come after.
    pub(super) fn note(&self, noted: Noted) {
        if self.noted() != noted {
            let handle = |handle: Option<u32>| handle.unwrap_or_default().to_be_bytes();
            let bytes = [handle(noted.storage_key), handle(noted.session)].concat();
            self.write(&bytes, Self::HANDLES);
        }
    }

    /// Whether the TPM has refused the password of that file, and it is the same file
    /// still.
    pub(super) fn has_refused(&self, auth: &OwnerAuth) -> bool {
        let mut stamp = Stamp::default();
        let read = self.0.read_exact_at(&mut stamp, Self::REFUSED);
        read.is_ok() && auth.stamp() == Some(&stamp)
    }

    /// Remembers that the TPM has refused it.
    pub(super) fn refuse(&self, auth: &OwnerAuth) {
        if let Some(stamp) = auth.stamp() {
            self.write(stamp, Self::REFUSED);
        }
    }

    /// Without what is written here, a slot that a killed process left taken is
    /// freed when the TPM restarts.
    fn write(&self, bytes: &[u8], offset: u64) {
        let _ = self.0.write_all_at(bytes, offset);
    }

    fn open(directory: &Path, chip: &str) -> io::Result<File> {
        make(directory)?;
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(lock_name(chip)))
    }

    fn wait(file: File, limit: Duration) -> Result<Self, TpmError> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(TpmError::Lock(error.into())),
        }
        // flock(2) has no time limit. The thread that waits for it is left
        // behind when the limit passes; should it get the lock after all, it
        // finds nobody to give it to and lets it go.
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let locked = loop {
                match flock(&file, FlockOperation::LockExclusive) {
                    Err(Errno::INTR) => {}
                    other => break other,
                }
            };
            let _ = sender.send(locked.map(|()| Self(file)));
        });
        match receiver.recv_timeout(limit) {
            Ok(locked) => locked.map_err(|error| TpmError::Lock(error.into())),
            Err(_) => Err(TpmError::TurnLimit(limit)),
        }
    }
}

/// Makes the directory of the locks, if it is not there: for who can't later on.
///
/// # Errors
///
/// What the system says.
pub fn make_lock_directory() -> io::Result<&'static Path> {
    let directory = Path::new(DIRECTORY);
    make(directory).map(|()| directory)
}

fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// A file name for a chip, which may have a path or anything else in its name.
fn lock_name(chip: &str) -> String {
    let kind = chip.split(':').next().unwrap_or_default();
    let digest = Sha256::digest(chip.as_bytes());
    let (short, _) = digest.split_first_chunk().expect("32 bytes hold 8");
    format!("{kind}-{:016x}.lock", u64::from_be_bytes(*short))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn file(directory: &Path) -> File {
        Turn::open(directory, "device:/dev/tpm0").unwrap()
    }

    #[test]
    fn one_lock_a_chip() {
        // Other releases of the callout have to find it.
        assert_eq!(
            lock_name("device:/dev/tpm0"),
            "device-df6dec3180d64dc8.lock"
        );
        assert_ne!(lock_name("device:/dev/tpm0"), lock_name("device:/dev/tpm1"));
    }

    #[test]
    fn one_after_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let first = Turn::wait(file(directory.path()), Duration::ZERO).unwrap();
        let error = Turn::wait(file(directory.path()), Duration::from_millis(10)).unwrap_err();
        assert!(matches!(error, TpmError::TurnLimit(_)), "{error}");

        let waiting = file(directory.path());
        let second = thread::spawn(move || Turn::wait(waiting, Duration::from_mins(1)));
        drop(first);
        let second = second.join().unwrap().unwrap();
        drop(second);
        Turn::wait(file(directory.path()), Duration::ZERO).unwrap();
    }

    /// How many wait for the lock of this file.
    fn waiting(file: &File) -> usize {
        let inode = format!(":{}", file.metadata().unwrap().ino());
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let is_waiting = |line: &&str| {
            let mut words = line.split_ascii_whitespace();
            words.any(|word| word == "->") && words.any(|word| word.ends_with(&inode))
        };
        locks.lines().filter(is_waiting).count()
    }

    #[test]
    fn in_the_order_of_their_arrival() {
        const MANY: usize = 40;
        let directory = tempfile::tempdir().unwrap();
        let looked_at = file(directory.path());
        let first = Turn::wait(file(directory.path()), Duration::ZERO).unwrap();
        let (sender, receiver) = mpsc::channel();
        for number in 0..MANY {
            let (file, sender) = (file(directory.path()), sender.clone());
            thread::spawn(move || {
                let turn = Turn::wait(file, Duration::from_mins(2)).unwrap();
                sender.send(number).unwrap();
                drop(turn);
            });
            // The next does not come before this one stands in line.
            while waiting(&looked_at) <= number {
                thread::sleep(Duration::from_millis(1));
            }
        }
        drop(sender);
        drop(first);
        let served: Vec<_> = receiver.iter().collect();
        assert_eq!(served, (0..MANY).collect::<Vec<_>>());
    }

    #[test]
    fn a_name_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let turn = Turn::wait(file(directory.path()), Duration::ZERO).unwrap();
        assert_eq!(turn.remembered(), None);
        for byte in [1, 2] {
            turn.remember(Name([byte; Name::SIZE]));
            assert_eq!(turn.remembered(), Some(Name([byte; Name::SIZE])));
        }
        drop(turn);
        let turn = Turn::wait(file(directory.path()), Duration::ZERO).unwrap();
        assert_eq!(turn.remembered(), Some(Name([2; Name::SIZE])));
    }

    #[test]
    fn what_was_left_unclean_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let turn = Turn::wait(file(directory.path()), Duration::ZERO).unwrap();
        assert!(!turn.is_unclean());
        turn.mark(true);
        assert_eq!(turn.remembered(), None);
        turn.remember(Name([1; Name::SIZE]));
        drop(turn);
        let turn = Turn::wait(file(directory.path()), Duration::ZERO).unwrap();
        assert!(turn.is_unclean());
        assert_eq!(turn.remembered(), Some(Name([1; Name::SIZE])));
        assert!(!turn.has_sequence());
        turn.mark_sequence();
        assert!(turn.is_unclean() && turn.has_sequence());
        turn.mark(false);
        assert!(!turn.is_unclean() && !turn.has_sequence());
    }

    #[test]
    fn handles_are_noted() {
        let directory = tempfile::tempdir().unwrap();
        let turn = Turn::wait(file(directory.path()), Duration::ZERO).unwrap();
        assert_eq!(turn.noted(), Noted::default());
        for noted in [
            Noted {
                storage_key: Some(0x8000_0001),
                session: None,
            },
            Noted {
                storage_key: None,
                session: Some(0x0200_0000),
            },
            Noted::default(),
        ] {
            turn.note(noted);
            assert_eq!(turn.noted(), noted);
        }
        assert!(!turn.is_unclean());
        assert_eq!(turn.remembered(), None);
        assert_eq!(turn.others(), None);
        for others in [
            (vec![], vec![]),
            (vec![0x8000_0000, 0x8000_0001], vec![0x0200_0000]),
            (vec![], vec![0x0200_0000; 64]),
        ] {
            turn.note_others(&others.0, &others.1);
            assert_eq!(turn.others(), Some(others));
        }
        assert_eq!(turn.noted(), Noted::default());
    }

    #[test]
    fn a_password_that_was_refused_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("owner-auth");
        let auth = |text: &str| {
            std::fs::write(&path, text).unwrap();
            OwnerAuth::of_anything(&path).unwrap()
        };
        let turn = Turn::wait(file(directory.path()), Duration::ZERO).unwrap();
        let wrong = auth("wrong");
        assert!(!turn.has_refused(&wrong));
        turn.refuse(&wrong);
        assert!(turn.has_refused(&wrong));
        assert!(!turn.has_refused(&auth("another")));
        // What is typed is known to whoever types it.
        let typed = OwnerAuth::new(b"wrong".to_vec().into(), "the terminal").unwrap();
        turn.refuse(&typed);
        assert!(!turn.has_refused(&typed));
        assert_eq!(turn.noted(), Noted::default());
        assert!(!turn.is_unclean());
    }

    #[test]
    fn a_wait_that_was_given_up_takes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let first = Turn::wait(file(directory.path()), Duration::ZERO).unwrap();
        Turn::wait(file(directory.path()), Duration::ZERO).unwrap_err();
        drop(first);
        // The abandoned thread may hold it for a moment.
        Turn::wait(file(directory.path()), Duration::from_mins(1)).unwrap();
    }
}
