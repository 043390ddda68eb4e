// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a TPM's owner hierarchy asks for: its authorisation value, the password of
//! TPM2_HierarchyChangeAuth; or its policy, that of TPM2_SetPrimaryPolicy.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::PcrPolicy;
use crate::config::{ConfigError, Fault};
use crate::trust::{way_to, weak_spot_to};

/// An authorisation value of the owner hierarchy, which is wiped when it is dropped, and
/// shown nowhere; or a policy of it.
pub struct OwnerAuth {
    value: Zeroizing<Vec<u8>>,
    policy: Option<PcrPolicy>,
    source: String,
    stamp: Option<Stamp>,
}

/// The same as long as a file is, and nothing of what is in it.
pub(super) type Stamp = [u8; 32];

impl OwnerAuth {
    /// The longest there can be: as long as the longest digest of a TPM, in bytes.
    pub const MOST: usize = 64;

    /// Takes what somebody has typed, or what came another way that needs no
    /// looking at.
    ///
    /// # Errors
    ///
    /// A text that says what is wrong: it is empty, or longer than [`Self::MOST`].
    pub fn new(mut value: Zeroizing<Vec<u8>>, source: &str) -> Result<Self, &'static str> {
        // Zeros at the end are none of it: Part 1, section 19.6.4.3.
        let length = value.iter().rposition(|byte| *byte != 0);
        value.truncate(length.map_or(0, |last| last + 1));
        match value.len() {
            0 => Err("it is empty, and then none is needed"),
            length if length > Self::MOST => Err("it is longer than the 64 bytes that a TPM takes"),
            _ => Ok(Self {
                value,
                policy: None,
                source: source.to_owned(),
                stamp: None,
            }),
        }
    }

    /// The owner hierarchy's policy. There is nothing secret about it.
    pub fn by_policy(policy: PcrPolicy) -> Self {
        Self {
            value: Zeroizing::default(),
            source: format!("the policy {policy}"),
            policy: Some(policy),
            stamp: None,
        }
    }

    /// Reads a file: all bytes, but for one newline at the end.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`], if it can't be read, if others than its reader or root could
    /// read, change or replace it, or if what it has can't be the value.
    pub fn of_file(path: &Path) -> Result<Self, ConfigError> {
        Self::read(path, true).map_err(|fault| ConfigError::new(path, fault))
    }

    /// The same for whatever can be read, whoever can do so besides: a pipe, or a
    /// file that somebody else takes care of.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`], if it can't be read, or what it has can't be the value.
    pub fn of_anything(path: &Path) -> Result<Self, ConfigError> {
        Self::read(path, false).map_err(|fault| ConfigError::new(path, fault))
    }

    fn read(path: &Path, is_secret: bool) -> Result<Self, Fault> {
        let mut options = File::options();
        options.read(true);
        if is_secret {
            let reader = rustix::process::geteuid().as_raw();
            let way = way_to(path)?;
            if let Some(spot) = weak_spot_to(&way, reader) {
                return Err(Fault::Weak(spot));
            }
            // So that nobody is kept waiting by a FIFO.
            options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        }
        let file = options.open(path)?;
        let metadata = file.metadata()?;
        if is_secret && !metadata.is_file() {
            return Err(Fault::NoFile);
        }
        if is_secret && metadata.mode() & 0o077 != 0 {
            return Err(Fault::Readable(metadata.mode() & 0o7777));
        }
        // In one piece from the start: what grows is moved, and leaves copies.
        let most = Self::MOST + 2;
        let mut value = Zeroizing::new(Vec::with_capacity(most));
        let mut piece = Zeroizing::new([0; 1]);
        let mut file = file.take(u64::try_from(most).unwrap_or_default());
        while file.read(&mut *piece)? > 0 {
            value.extend_from_slice(&*piece);
        }
        if value.last() == Some(&b'\n') {
            value.pop();
        }
        let source = path.display().to_string();
        let mut auth = Self::new(value, &source).map_err(Fault::OwnerAuth)?;
        auth.stamp = metadata.is_file().then(|| stamp(path, &metadata));
        Ok(auth)
    }

    /// The value itself; nothing for a policy.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The policy, if it is one.
    pub fn policy(&self) -> Option<&PcrPolicy> {
        self.policy.as_ref()
    }

    pub(super) fn stamp(&self) -> Option<&Stamp> {
        self.stamp.as_ref()
    }
}

/// Where it is from, or which policy it is.
impl fmt::Display for OwnerAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

fn stamp(path: &Path, metadata: &Metadata) -> Stamp {
    let numbers = [
        i128::from(metadata.dev()),
        i128::from(metadata.ino()),
        i128::from(metadata.size()),
        i128::from(metadata.mtime()),
        i128::from(metadata.mtime_nsec()),
        i128::from(metadata.ctime()),
        i128::from(metadata.ctime_nsec()),
    ];
    let mut digest = Sha256::new_with_prefix(path.as_os_str().as_encoded_bytes());
    for number in numbers {
        digest.update(number.to_be_bytes());
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn file(directory: &Path, content: &[u8]) -> std::path::PathBuf {
        let path = directory.join("owner-auth");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn value(content: &[u8]) -> Result<Vec<u8>, String> {
        let directory = tempfile::tempdir().unwrap();
        match OwnerAuth::of_file(&file(directory.path(), content)) {
            Ok(auth) => Ok(auth.value().to_vec()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn what_is_in_the_file() {
        assert_eq!(value(b"secret").unwrap(), b"secret");
        assert_eq!(value(b" secret \n").unwrap(), b" secret ");
        assert_eq!(value(b"\xFF\0\n\n").unwrap(), b"\xFF\0\n");
        assert_eq!(value(b"\x01\0\0").unwrap(), b"\x01");
        assert_eq!(value(&[b'x'; 64]).unwrap(), [b'x'; 64]);
        assert_eq!(
            value(&[&[b'x'; 64][..], b"\n"].concat()).unwrap(),
            [b'x'; 64]
        );
        for content in [&b""[..], b"\n", b"\0\0"] {
            let error = value(content).unwrap_err();
            assert!(
                error.ends_with("it is empty, and then none is needed"),
                "{error}"
            );
        }
        for length in [65, 66, 67, 100_000] {
            let error = value(&vec![b'x'; length]).unwrap_err();
            assert!(error.contains("longer than"), "{error}");
            assert!(!error.contains("xxxx"), "{error}");
        }
    }

    #[test]
    fn files_that_others_could_know_or_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), b"secret");
        for (mode, expected) in [
            (0o640, "could have read it (mode 0640)"),
            (0o604, "could have read it (mode 0604)"),
            (0o601, "could have read it (mode 0601)"),
            (0o620, "others than root can write"),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = OwnerAuth::of_file(&path).map(drop).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains("secret"));
            OwnerAuth::of_anything(&path).map(drop).unwrap();
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        OwnerAuth::of_file(&path).map(drop).unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        for path in [&path, &link] {
            let error = OwnerAuth::of_file(path).map(drop).unwrap_err();
            assert!(error.to_string().contains("others than root"), "{error}");
        }
        let error = OwnerAuth::of_file(Path::new("/dev/null"))
            .map(drop)
            .unwrap_err();
        assert!(error.to_string().contains("/dev/null"), "{error}");
    }

    #[test]
    fn a_file_that_was_written_again_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), b"one");
        let stamp = || *OwnerAuth::of_file(&path).unwrap().stamp().unwrap();
        let before = stamp();
        assert_eq!(stamp(), before);
        fs::write(&path, b"two!").unwrap();
        assert_ne!(stamp(), before);
    }
}
