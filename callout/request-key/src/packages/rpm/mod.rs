// SPDX-License-Identifier: Apache-2.0 OR MIT
//! RPM's database as RPM has it since 4.16: SQLite. The headers of the packages are in
//! it, and an index of the last parts of files' names.
//!
//! It is read as it is: nothing is written, nobody is waited for, and what is only in
//! a log beside it is not seen. So there must be nothing in such a log, and the
//! database must be the same afterwards.

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql};

use super::{Packages, in_file, only_roots};

mod header;

use header::Malformed;
pub(crate) use header::is_of;

/// Where RPM has it. Often one is a link to the other.
pub(super) const DATABASES: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];

const FILE: &str = "rpmdb.sqlite";
/// What SQLite has beside the file while something is not, or not only, in it.
const LOGS: [&str; 2] = ["rpmdb.sqlite-wal", "rpmdb.sqlite-journal"];
/// What RPM had before, or can have instead.
const OTHERS: [(&str, &str); 2] = [("Packages", "Berkeley DB"), ("Packages.db", "NDB")];

/// The rows of the index with that last part of a name, and the packages' headers.
const QUERY: &str = "SELECT Basenames.idx, Packages.blob \
    FROM Basenames LEFT JOIN Packages ON Packages.hnum = Basenames.hnum \
    WHERE Basenames.key = ?1";

/// The directories that are there, each once.
pub(super) fn databases(candidates: &[&Path]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for candidate in candidates {
        match fs::canonicalize(candidate) {
            Ok(directory) if !found.contains(&directory) => found.push(directory),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(in_file(candidate, error)),
        }
    }
    Ok(found)
}

/// The packages of a file that is called so; nothing if no database is there.
pub(super) fn owners(directory: &Path, names: &[Vec<u8>]) -> Result<Option<Packages>, String> {
    let file = directory.join(FILE);
    match is_there(&file) {
        Ok(true) => {
            only_roots(&file)?;
            let owners = owners_in(directory, names);
            owners.map(Some).map_err(|trouble| in_file(&file, trouble))
        }
        Ok(false) => {
            for (other, format) in OTHERS {
                let file = directory.join(other);
                if is_there(&file).map_err(|error| in_file(&file, error))? {
                    let why =
                        format_args!("RPM's database is in {format}, and only SQLite is read");
                    return Err(in_file(&file, why));
                }
            }
            Ok(None)
        }
        Err(error) => Err(in_file(&file, error)),
    }
}

fn is_there(file: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(file) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn owners_in(directory: &Path, names: &[Vec<u8>]) -> Result<Packages, Trouble> {
    let before = state(directory)?;
    let found = ask(&directory.join(FILE), names);
    // Whatever was read meanwhile.
    if state(directory)? != before {
        return Err(Trouble::Changed);
    }
    found
}

/// The file, as it is before and after it is read.
#[derive(PartialEq)]
struct State {
    place: (u64, u64),
    size: u64,
    changed: [i64; 4],
}

fn state(directory: &Path) -> Result<State, Trouble> {
    for log in LOGS {
        match fs::metadata(directory.join(log)) {
            Ok(metadata) if metadata.len() != 0 => return Err(Trouble::Unfinished(log)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let file = fs::metadata(directory.join(FILE))?;
    Ok(State {
        place: (file.dev(), file.ino()),
        size: file.size(),
        changed: [
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        ],
    })
}

fn ask(file: &Path, names: &[Vec<u8>]) -> Result<Packages, Trouble> {
    // All names are of one file, and so is their last part.
    let path = names.first().map(Vec::as_slice).unwrap_or_default();
    let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(address(file), flags)?;
    let mut query = database.prepare(QUERY)?;
    let mut rows = query.query([Text(base)])?;
    let mut owners = Vec::new();
    while let Some(row) = rows.next()? {
        let ValueRef::Blob(header) = row.get_ref(1)? else {
            return Err(Malformed.into());
        };
        owners.extend(is_of(header, row.get(0)?, names)?);
    }
    Ok(owners)
}

/// The file for SQLite. It is told that nobody changes it, or else it would look for
/// logs, which takes rights to write.
fn address(file: &Path) -> String {
    let mut address = String::from("file:");
    for byte in file.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            address.push(char::from(*byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(address, "%{byte:02x}");
        }
    }
    address + "?mode=ro&immutable=1"
}

/// A text that need not be UTF-8: a file's name.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// Why a database does not tell.
#[derive(Debug)]
enum Trouble {
    Io(io::Error),
    Sqlite(rusqlite::Error),
    Header(Malformed),
    /// This log is not empty.
    Unfinished(&'static str),
    /// It was written to while it was read.
    Changed,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Sqlite(error) => error.fmt(f),
            Self::Header(error) => error.fmt(f),
            Self::Unfinished(log) => write!(
                f,
                "{log} has changes that are not in it yet: RPM is at work, or was interrupted"
            ),
            Self::Changed => f.write_str("it has changed while it was read"),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Malformed> for Trouble {
    fn from(error: Malformed) -> Self {
        Self::Header(error)
    }
}

#[cfg(test)]
mod tests;
