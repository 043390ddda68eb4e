// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The configuration file, `/etc/tdk/config.toml`.
//!
//! ```toml
//! tcti = "device:/dev/tpmrm0"  # default: the first of /dev/tpmrm0, /dev/tpm0
//! deadline_seconds = 10        # how long one request may hold the TPM, 1 to 600
//! log_level = "info"           # error, warning, info or debug
//! realm = ""                   # up to 64 bytes; changing it changes every key
//! bus = "encrypted"            # or plain: whether the conversation is protected
//! root_name = "000b..."        # the Names of the TPM's root key and storage key,
//! srk_name = "000b..."         # where enrolment can't keep them
//! enrolment = "/var/lib/tdk/root.json" # where it does
//! owner_auth = "/etc/tdk/owner-auth" # the owner hierarchy's password, if it has one
//! owner_policy = "sha256:7"    # or the PCRs of its policy
//! ```

mod error;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use serde::de::{self, Deserialize, Deserializer};

pub use error::ConfigError;
pub(crate) use error::{Fault, one_line};

use crate::enrolment::{self, Names};
use crate::identity::Realm;
use crate::tpm::{Bus, Name, OwnerAuth, Patience, PcrPolicy, Tcti, Trust};
use crate::trust::{way_to, weak_spot_to};

/// What is configured. [`Config::default`] is what holds without a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    #[serde(deserialize_with = "tcti")]
    tcti: Option<Tcti>,
    #[serde(deserialize_with = "seconds")]
    deadline_seconds: Option<u16>,
    log_level: LogLevel,
    #[serde(deserialize_with = "realm")]
    realm: Realm,
    bus: Bus,
    #[serde(deserialize_with = "name")]
    root_name: Option<Name>,
    #[serde(deserialize_with = "name")]
    srk_name: Option<Name>,
    #[serde(deserialize_with = "absolute")]
    enrolment: Option<PathBuf>,
    #[serde(deserialize_with = "absolute")]
    owner_auth: Option<PathBuf>,
    #[serde(deserialize_with = "pcr_policy")]
    owner_policy: Option<PcrPolicy>,
}

impl Config {
    /// Where the configuration is, unless another file is named.
    pub const PATH: &str = "/etc/tdk/config.toml";

    /// The longest file that is read, in bytes.
    const MOST: u64 = 64 * 1024;

    /// Reads the file that was named, or [`Config::PATH`], which may be missing.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that names the file, and the line where there is one:
    /// for a file that can't be read, that others than its reader or root could
    /// have written, or whose content is not understood to the last key.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(Self::PATH));
        match read(path) {
            Ok(text) => Self::parse(&text),
            Err(Fault::Io(error)) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(fault) => Err(fault),
        }
        .map_err(|fault| ConfigError::new(path, fault))
    }

    /// The directory of the file that was named, or of [`Config::PATH`]: the
    /// policy is there as well.
    pub fn directory(named: Option<&Path>) -> &Path {
        let path = named.unwrap_or(Path::new(Self::PATH));
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// A configuration with this text.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn of_text(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse(text).map_err(|fault| ConfigError::new(path, fault))
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let before = &text[..error.span().map_or(0, |span| span.start)];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            Fault::Malformed {
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                what: one_line(error.message()),
            }
        })?;
        if config.owner_auth.is_some() && config.owner_policy.is_some() {
            return Err(Fault::TwoWaysIn);
        }
        Ok(config)
    }

    /// Where the TPM is.
    pub fn tcti(&self) -> Tcti {
        self.tcti.clone().unwrap_or_else(Tcti::of_this_machine)
    }

    /// How long to wait for it.
    pub fn patience(&self) -> Patience {
        let default = Patience::default();
        Patience {
            hold: self
                .deadline_seconds
                .map_or(default.hold, |seconds| Duration::from_secs(seconds.into())),
            ..default
        }
    }

    /// What is worth a line in the log.
    pub fn log_level(&self) -> LogLevel {
        self.log_level
    }

    /// How to talk to the TPM, with the owner's password, and what it is known by.
    ///
    /// # Errors
    ///
    /// As for [`Self::known`] and [`Self::owner_auth`].
    pub fn trust(&self) -> Result<Trust, ConfigError> {
        Ok(Trust {
            owner_auth: self.owner_auth()?.map(Arc::new),
            ..self.known()?
        })
    }

    /// The owner's password, if a file of it is configured, or the owner's policy.
    ///
    /// # Errors
    ///
    /// As for [`OwnerAuth::of_file`].
    pub fn owner_auth(&self) -> Result<Option<OwnerAuth>, ConfigError> {
        match (&self.owner_policy, &self.owner_auth) {
            (Some(policy), _) => Ok(Some(OwnerAuth::by_policy(policy.clone()))),
            (None, Some(file)) => OwnerAuth::of_file(file).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// How to talk to the TPM, but for the owner's password, and what it is known by:
    /// here, on the kernel's command line, and in the file that `tdk enroll` writes.
    /// They may say the same twice, but not two things.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`], if one of these can't be read or understood, or they
    /// contradict each other.
    pub fn known(&self) -> Result<Trust, ConfigError> {
        let here = Names {
            root: self.root_name,
            srk: self.srk_name,
        };
        let names = here
            .and(enrolment::of_command_line()?)?
            .and(enrolment::of_file(self.enrolment())?)?;
        Ok(Trust {
            bus: self.bus,
            root: names.root,
            srk: names.srk,
            owner_auth: None,
        })
    }

    /// Whether the conversation with the TPM is to be protected.
    pub fn bus(&self) -> Bus {
        self.bus
    }

    /// Where `tdk enroll` keeps the Names of the TPM's keys.
    pub fn enrolment(&self) -> &Path {
        self.enrolment
            .as_deref()
            .unwrap_or(Path::new(enrolment::PATH))
    }

    /// What all identities of this machine are bound to besides.
    pub fn realm(&self) -> &Realm {
        &self.realm
    }
}

/// Makes sure that nobody but the reader and root can have put a file there, or removed
/// it, as far as there is something on the way.
pub(crate) fn check_way(path: &Path) -> Result<(), Fault> {
    let reader = rustix::process::geteuid().as_raw();
    for place in path.ancestors().skip(1) {
        match way_to(place) {
            Ok(way) => {
                return weak_spot_to(&way, reader).map_or(Ok(()), |spot| Err(Fault::Weak(spot)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads a file that only its reader or root can have written.
pub(crate) fn read(path: &Path) -> Result<String, Fault> {
    // Non-blocking, so that nobody is kept waiting by a FIFO.
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Fault::NoFile);
    }
    let reader = rustix::process::geteuid().as_raw();
    if (metadata.uid() != 0 && metadata.uid() != reader) || metadata.mode() & 0o022 != 0 {
        return Err(Fault::Writable);
    }
    let mut text = String::new();
    file.take(Config::MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > Config::MOST {
        return Err(Fault::TooLong);
    }
    Ok(text)
}

/// From which severity on something is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What was refused.
    Warning,
    /// What was granted.
    #[default]
    Info,
    /// From which TPM and root key.
    Debug,
}

fn tcti<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tcti>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    match i64::deserialize(deserializer)? {
        seconds @ 1..=600 => Ok(u16::try_from(seconds).ok()),
        other => Err(de::Error::custom(format!("{other} is not from 1 to 600"))),
    }
}

fn realm<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Realm, D::Error> {
    let text = String::deserialize(deserializer)?;
    Realm::new(text.as_bytes()).map_err(de::Error::custom)
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Name>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

fn pcr_policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PcrPolicy>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.is_absolute() {
        return Ok(Some(path));
    }
    Err(de::Error::custom("a path from the root is needed"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        fs::write(&path, text).unwrap();
        let shown = format!("{}", path.display());
        Config::load(Some(&path)).map_err(|error| error.to_string().replace(&shown, "FILE"))
    }

    #[test]
    fn every_key() {
        let name = format!("000b{}", "01".repeat(32));
        let config = load(
            "# all of it\ntcti = \"swtpm:path=/run/x\"\ndeadline_seconds = 3\n\
             log_level = \"warning\"\nrealm = \"blue\"\nbus = \"plain\"\n\
             root_name = \"NAME\"\nenrolment = \"/srv/root.json\"\n\
             owner_policy = \"sha256:7\"\n"
                .replace("NAME", &name)
                .as_str(),
        )
        .unwrap();
        assert_eq!(config.bus(), Bus::Plain);
        assert_eq!(config.enrolment(), Path::new("/srv/root.json"));
        let trust = config.trust().unwrap();
        assert_eq!(trust.root.unwrap().to_string(), name);
        assert_eq!(trust.srk, None);
        assert_eq!(config.tcti().to_string(), "swtpm:path=/run/x");
        assert_eq!(config.patience().hold, Duration::from_secs(3));
        assert_eq!(config.log_level(), LogLevel::Warning);
        assert_eq!(config.realm().as_bytes(), b"blue");
        let policy = config.owner_auth().unwrap().unwrap();
        assert_eq!(policy.to_string(), "the policy sha256:7");
    }

    #[test]
    fn nothing_is_the_default() {
        assert_eq!(load("").unwrap(), Config::default());
        assert_eq!(Config::default().patience(), Patience::default());
        assert_eq!(Config::default().log_level(), LogLevel::Info);
        assert_eq!(Config::default().realm().as_bytes(), b"");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let long = "x".repeat(65);
        for (text, expected) in [
            (
                "\n  tctii = \"x\"\n",
                "FILE:2:3: unknown field `tctii`, expected one of",
            ),
            ("realm = \"a\"\nrealm = \"b\"\n", "FILE:2:1: duplicate key"),
            (
                "tcti = \"swtpm\"\n",
                "FILE:1:8: TCTI 'swtpm': write swtpm:path=SOCKET",
            ),
            (
                "tcti = \"tabrmd:\"\n",
                "FILE:1:8: TCTI 'tabrmd:': tabrmd is spoken by libtss2 only",
            ),
            ("tcti = 7\n", "FILE:1:8: invalid type"),
            (
                "deadline_seconds = 0\n",
                "FILE:1:20: 0 is not from 1 to 600",
            ),
            (
                "deadline_seconds = 601\n",
                "FILE:1:20: 601 is not from 1 to 600",
            ),
            (
                "deadline_seconds = -1\n",
                "FILE:1:20: -1 is not from 1 to 600",
            ),
            ("deadline_seconds = \"10\"\n", "FILE:1:20: invalid type"),
            (
                "log_level = \"loud\"\n",
                "FILE:1:13: unknown variant `loud`",
            ),
            (
                &format!("\nrealm = \"{long}\"\n"),
                "FILE:2:9: a realm has at most 64 bytes, not 65",
            ),
            (
                "bus = \"open\"\n",
                "FILE:1:7: unknown variant `open`, expected `encrypted` or `plain`",
            ),
            (
                "root_name = \"000b\"\n",
                "FILE:1:13: a Name is 000b and 64 more hexadecimal digits",
            ),
            (
                "owner_policy = \"7\"\n",
                "FILE:1:16: PCRs are needed as in sha256:0,7",
            ),
            (
                "owner_policy = \"sha256:7\"\nowner_auth = \"/x\"\n",
                "FILE: it has both owner_auth and owner_policy",
            ),
            (
                "enrolment = \"root.json\"\n",
                "FILE:1:13: a path from the root is needed",
            ),
            (
                "log_level = \"\\u001b[2J\\n\"\n",
                "FILE:1:13: unknown variant `\\u{1b}[2J `",
            ),
            ("tcti = \n", "FILE:1:8: "),
            ("[section]\n", "FILE:1:2: unknown field `section`"),
            (&"#".repeat(65537), "FILE: longer than 65536 bytes"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
            assert!(!error.contains(char::is_control), "{error}");
        }
    }

    #[test]
    fn a_file_that_was_named_has_to_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let error = Config::load(Some(&directory.path().join("none"))).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
        let error = Config::load(Some(directory.path())).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
        let path = directory.path().join("binary");
        fs::write(&path, b"\xff\xfe").unwrap();
        let error = Config::load(Some(&path)).unwrap_err();
        assert!(error.to_string().contains("UTF-8"), "{error}");
    }

    #[test]
    fn a_file_that_others_can_write_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        fs::write(&path, "").unwrap();
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = Config::load(Some(&path)).unwrap_err();
            assert!(error.to_string().contains("others than root"), "{error}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        Config::load(Some(&path)).unwrap();
    }
}
