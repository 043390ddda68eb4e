// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is wrong with a file that root has written.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::Config;
use crate::trust::WeakSpot;

/// A configuration that can't be used.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    NoFile,
    Writable,
    TooLong,
    Malformed {
        line: usize,
        column: usize,
        what: String,
    },
    /// In what `tdk enroll` has written, or on the kernel's command line.
    Enrolment(String),
    /// Somebody could have changed what is secret.
    Weak(WeakSpot),
    /// Others could have read what is secret; its mode.
    Readable(u32),
    /// What can't be the owner's password.
    OwnerAuth(&'static str),
    /// Both the owner's password and the owner's policy are configured.
    TwoWaysIn,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl ConfigError {
    pub(crate) fn new(path: &Path, fault: Fault) -> Self {
        let path = path.into();
        Self { path, fault }
    }

    /// Whether it is only that this process may not read the file.
    pub fn is_permission_denied(&self) -> bool {
        matches!(&self.fault, Fault::Io(error) if error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// What to do about it.
    pub fn hint(&self) -> Cow<'static, str> {
        let hint = match &self.fault {
            Fault::Weak(spot) => return spot.remedy().into(),
            Fault::Readable(_) => "chmod 600 it, and give the owner hierarchy another password",
            Fault::OwnerAuth(_) => "put the owner hierarchy's password there, and nothing else",
            Fault::Io(_) | Fault::NoFile => "name a readable file",
            Fault::Writable => "chown root and chmod go-w it",
            Fault::TooLong | Fault::Malformed { .. } => {
                "it takes tcti, deadline_seconds, log_level, realm, bus, root_name, srk_name, \
                 enrolment, owner_auth and owner_policy"
            }
            Fault::TwoWaysIn => "leave one of them out: docs/owner-auth.md",
            Fault::Enrolment(_) => "correct what is wrong there, or run tdk enroll --force",
        };
        hint.into()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match &self.fault {
            Fault::Io(error) => write!(f, ": {error}"),
            Fault::NoFile => write!(f, ": not a regular file"),
            Fault::Writable => write!(f, ": others than root could have written it"),
            Fault::TooLong => write!(f, ": longer than {} bytes", Config::MOST),
            Fault::Malformed { line, column, what } => write!(f, ":{line}:{column}: {what}"),
            Fault::Enrolment(what) => write!(f, ": {what}"),
            Fault::Weak(spot) => write!(f, " could be another's: {spot}"),
            Fault::Readable(mode) => {
                write!(f, ": others than root could have read it (mode {mode:04o})")
            }
            Fault::OwnerAuth(what) => write!(f, ": {what}"),
            Fault::TwoWaysIn => {
                write!(f, ": it has both owner_auth and owner_policy")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// What a parser says, which may have words of its file in it: in one line, and
/// nothing for a terminal to obey.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        match c {
            '\n' => line.push(' '),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}
