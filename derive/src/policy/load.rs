// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A policy's files: which they are, and whether they can be trusted.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::facts::Facts;
use super::parse::{Fault, Read, parse};
use super::plain::plain;
use super::rule::Action;
use super::{File, Policy};
use crate::trust::{WeakSpot, way_to, weak_spot_to};

/// The longest file that is read, in bytes.
const MOST: u64 = 1024 * 1024;

/// So much of a plain file is read at once, in bytes.
const PIECE: usize = 8 * 1024;

/// The directory of further files.
const MORE: &str = "policy.d";

impl Policy {
    /// What the first file is called.
    pub const FILE: &str = "policy.toml";

    /// Reads `policy.toml` and then, in the order of their names, the files
    /// `*.toml` of `policy.d`, in the directory where the configuration is. All of
    /// them may be missing.
    ///
    /// # Errors
    ///
    /// A [`PolicyError`] that names the file, and the line and column where there
    /// are some: for a file that can't be read, that its reader does not
    /// understand to the last key, or that somebody else than the reader and root
    /// could have written, removed or replaced.
    pub fn load(directory: &Path) -> Result<Self, PolicyError> {
        Self::open(directory)?.read(None)
    }

    /// Opens the files, which can be read where no file can be opened any more.
    ///
    /// # Errors
    ///
    /// As for [`Policy::load`], but for what is in the files.
    pub fn open(directory: &Path) -> Result<PolicyFiles, PolicyError> {
        let mut files = PolicyFiles::default();
        for path in all_files(directory)? {
            let is_first = path.parent() == Some(directory);
            if let Some(file) = open(&path, reader())? {
                files.0.push((path, file, is_first));
            }
        }
        Ok(files)
    }

    /// The same, for who wants to know all that is wrong: the first error of each file.
    ///
    /// # Errors
    ///
    /// As for [`Policy::load`], one or more.
    pub fn check(directory: &Path) -> Result<Self, Vec<PolicyError>> {
        let mut policy = Self::shipped();
        let files = all_files(directory).map_err(|error| vec![error])?;
        let load = |path: PathBuf| {
            let is_first = path.parent() == Some(directory);
            match open(&path, reader()) {
                Ok(Some(file)) => policy.add(path, file, is_first, None).err(),
                Ok(None) => None,
                Err(error) => Some(error),
            }
        };
        let errors: Vec<_> = files.into_iter().filter_map(load).collect();
        if errors.is_empty() {
            Ok(policy)
        } else {
            Err(errors)
        }
    }

    /// Adds the rules of a file behind those that are there.
    fn add(
        &mut self,
        path: PathBuf,
        file: impl io::Read + io::Seek,
        is_first: bool,
        facts: Option<&Facts>,
    ) -> Result<(), PolicyError> {
        let read = read(file, is_first, facts).map_err(|what| PolicyError::new(&path, what))?;
        self.default = read.default.unwrap_or(self.default);
        self.files.push(File {
            path,
            rules: read.rules,
        });
        Ok(())
    }

    /// A policy of one file with this text.
    ///
    /// # Errors
    ///
    /// As for [`Policy::load`].
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::parse_for(text, None)
    }

    pub(super) fn parse_for(text: &str, facts: Option<&Facts>) -> Result<Self, PolicyError> {
        let mut policy = Self::shipped();
        policy.add(Self::FILE.into(), io::Cursor::new(text), true, facts)?;
        Ok(policy)
    }

    /// What happens where no rule is about a request.
    pub fn default_action(&self) -> Action {
        self.default
    }

    /// The files, with how many rules each has.
    pub fn files(&self) -> impl Iterator<Item = (&Path, usize)> {
        let files = self.files.iter();
        files.map(|file| (file.path.as_path(), file.rules.all.count))
    }
}

/// The files of a policy, which are open and not read yet; by default there are none.
#[derive(Debug, Default)]
pub struct PolicyFiles(Vec<(PathBuf, fs::File, IsFirst)>);

/// Whether it is `policy.toml`, which may say what the default is.
type IsFirst = bool;

impl PolicyFiles {
    /// Whether there are none, and all is as it is shipped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads them to judge a request of which this is known. Rules that are not about it, as far as
    /// that can be told, are understood like all others but not kept, as memory costs time.
    ///
    /// # Errors
    ///
    /// As for [`Policy::load`].
    pub fn read_for(self, facts: &Facts) -> Result<Policy, PolicyError> {
        self.read(Some(facts))
    }

    fn read(self, facts: Option<&Facts>) -> Result<Policy, PolicyError> {
        let mut policy = Policy::shipped();
        for (path, file, is_first) in self.0 {
            policy.add(path, file, is_first, facts)?;
        }
        Ok(policy)
    }
}

/// What the policy of a directory is read from: `policy.toml`, even if it is not there,
/// and then the files of `policy.d`.
fn all_files(directory: &Path) -> Result<Vec<PathBuf>, PolicyError> {
    // Who can write there can remove a rule that denies.
    if !is_trusted(directory, reader())? {
        return Ok(Vec::new());
    }
    let mut all = vec![directory.join(Policy::FILE)];
    let more = directory.join(MORE);
    if is_trusted(&more, reader())? {
        all.extend(files(&more).map_err(|error| PolicyError::new(&more, error.into()))?);
    }
    Ok(all)
}

/// Who has to trust the files.
fn reader() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether it is there, and then makes sure that nobody else could have changed
/// what the path leads to.
fn is_trusted(path: &Path, reader: u32) -> Result<bool, PolicyError> {
    let way = match way_to(path) {
        Ok(way) => way,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(PolicyError::new(path, error.into())),
    };
    match weak_spot_to(&way, reader) {
        None => Ok(true),
        Some(spot) => Err(PolicyError::new(path, What::Weak(spot))),
    }
}

/// Opens a file, if it is there.
fn open(path: &Path, reader: u32) -> Result<Option<fs::File>, PolicyError> {
    if !is_trusted(path, reader)? {
        return match fs::symlink_metadata(path) {
            // A link that leads nowhere is not the same as nothing.
            Ok(_) => {
                let error = io::Error::from(io::ErrorKind::NotFound);
                Err(PolicyError::new(path, error.into()))
            }
            Err(_) => Ok(None),
        };
    }
    let open = || -> Result<fs::File, What> {
        // Nobody but root could have put a FIFO here, but nobody shall wait for it.
        if !fs::metadata(path)?.is_file() {
            return Err(What::NoFile);
        }
        Ok(fs::File::open(path)?)
    };
    open()
        .map(Some)
        .map_err(|what| PolicyError::new(path, what))
}

/// Reads a file: as a plain one if it is one, and otherwise once more, as any.
fn read(
    mut file: impl io::Read + io::Seek,
    is_first: bool,
    facts: Option<&Facts>,
) -> Result<Read, What> {
    let mut start = file.by_ref().take(MOST);
    if let Some(read) = plain(&mut start, &mut [0; PIECE], facts)
        && start.limit() > 0
        && (is_first || read.default.is_none())
    {
        return Ok(read);
    }
    file.rewind()?;
    let mut text = String::new();
    file.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(What::TooLong);
    }
    parse(&text, is_first, facts).map_err(What::Malformed)
}

/// The files of a directory that are read, in the order of their names' bytes.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
        if path.extension() == Some("toml".as_ref()) && !path.file_name().is_some_and(is_hidden) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A policy that can't be used.
#[derive(Debug)]
pub struct PolicyError {
    path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Io(io::Error),
    NoFile,
    Weak(WeakSpot),
    TooLong,
    Malformed(Fault),
}

impl From<io::Error> for What {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl PolicyError {
    fn new(path: &Path, what: What) -> Self {
        Self {
            path: path.into(),
            what,
        }
    }

    /// Whether it is only that this process may not read it.
    pub fn is_permission_denied(&self) -> bool {
        matches!(&self.what, What::Io(error) if error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match &self.what {
            What::Io(_) | What::NoFile => "put a readable file there, or none".into(),
            What::Weak(spot) => spot.remedy(),
            What::TooLong => format!("spread it over several files of {MORE}"),
            What::Malformed { .. } => "docs/policy.md says what rules are made of".into(),
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match &self.what {
            What::Io(error) => write!(f, ": {error}"),
            What::NoFile => write!(f, ": not a regular file"),
            What::Weak(spot) => write!(f, " could be another's: {spot}"),
            What::TooLong => write!(f, ": longer than {MOST} bytes"),
            What::Malformed(Fault { line, column, what }) => write!(f, ":{line}:{column}: {what}"),
        }
    }
}

impl std::error::Error for PolicyError {}
