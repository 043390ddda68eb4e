// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The line in which callouts wait for a TPM, by what the kernel says of their lock.
//!
//! Needs root.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tpm_derived_keys::tpm::make_lock_directory;

/// The lock of one TPM.
#[derive(Debug)]
pub struct Queue {
    path: PathBuf,
    inode: String,
}

/// The processes at one moment: first who has the lock, then those who wait, as they stand.
pub type Line = Vec<u32>;

impl Queue {
    /// Of the TPM of that name.
    pub fn of(tcti: &str) -> Self {
        let directory = make_lock_directory().unwrap();
        let digest = Sha256::digest(tcti);
        let kind = tcti.split(':').next().unwrap();
        let name = format!("{kind}-{}.lock", hex::encode(&digest[..8]));
        let path = directory.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .unwrap();
        let inode = format!(":{}", file.metadata().unwrap().ino());
        Self { path, inode }
    }

    /// Nobody else gets the lock until that is dropped.
    pub fn close(&self) -> File {
        let file = File::open(&self.path).unwrap();
        file.lock().unwrap();
        file
    }

    /// The line just now; nobody, while whoever is next wakes up.
    pub fn look(&self) -> Line {
        line(&fs::read_to_string("/proc/locks").unwrap(), &self.inode)
    }

    /// Looks again and again, until told to stop: when, and who stood there.
    pub fn watch(&self, stop: &AtomicBool) -> Vec<(Instant, Line)> {
        let mut lines = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            let at = Instant::now();
            let line = self.look();
            if !line.is_empty() {
                lines.push((at, line));
            }
            thread::sleep(Duration::from_millis(5));
        }
        lines
    }
}

/// Of what `/proc/locks` has. Its lines about one lock and who waits for it belong to one
/// moment; should the lock be there twice, since it was handed on meanwhile, the first counts.
fn line(locks: &str, inode: &str) -> Line {
    let mut processes = Vec::new();
    for line in locks.lines() {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let waits = words.get(1) == Some(&"->");
        let of_file = words.iter().any(|word| word.ends_with(inode));
        if !of_file || (!waits && !processes.is_empty()) {
            if processes.is_empty() {
                continue;
            }
            break;
        }
        // NUMBER: [->] FLOCK ADVISORY WRITE PROCESS DEVICE:INODE 0 EOF
        processes.push(words[if waits { 5 } else { 4 }].parse().unwrap());
    }
    processes
}

/// Fails if somebody of the first line was served before one who stood in front of them, by
/// what was seen later. For a line that nobody has joined since.
pub fn assert_served_in_order(lines: &[(Instant, Line)]) {
    let Some(((_, first), later)) = lines.split_first() else {
        return;
    };
    for (_, line) in later {
        assert!(first.ends_with(line), "{first:?}, and then {line:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_lock() {
        let locks = "\
1: FLOCK  ADVISORY  WRITE 10 fd:00:77 0 EOF
2: FLOCK  ADVISORY  WRITE 20 fd:00:777 0 EOF
2: -> FLOCK  ADVISORY  WRITE 21 fd:00:777 0 EOF
2:  -> FLOCK  ADVISORY  WRITE 22 fd:00:777 0 EOF
3: POSIX  ADVISORY  READ 30 fd:00:7 0 EOF
2: FLOCK  ADVISORY  WRITE 21 fd:00:777 0 EOF
";
        assert_eq!(line(locks, ":777"), [20, 21, 22]);
        assert_eq!(line(locks, ":77"), [10]);
        assert_eq!(line(locks, ":7777"), [0; 0]);
    }

    #[test]
    fn order() {
        let lines = |lines: &[&[u32]]| {
            let now = Instant::now();
            let lines = lines.iter().map(|line| (now, line.to_vec()));
            lines.collect::<Vec<_>>()
        };
        // Not all moments are seen.
        assert_served_in_order(&lines(&[&[1, 2, 3, 4], &[1, 2, 3, 4], &[3, 4], &[4]]));
        for unfair in [
            &[&[1, 2, 3][..], &[3, 2]][..],
            &[&[1, 2, 3], &[1, 3]],
            &[&[1, 2, 3], &[1, 2]],
            &[&[1, 2, 3], &[4, 3]],
        ] {
            let unfair = lines(unfair);
            let told = std::panic::catch_unwind(|| assert_served_in_order(&unfair));
            assert!(told.is_err(), "{unfair:?}");
        }
    }
}
