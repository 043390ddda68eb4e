// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which package a file is of, by the databases that are here: dpkg's and RPM's. No
//! program is run for it.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tpm_derived_keys::policy::Found;
use tpm_derived_keys::trust::{way_to, weak_spot};

mod dpkg;
mod rpm;

#[cfg(feature = "fuzzing")]
pub(crate) use dpkg::diversions;
#[cfg(feature = "fuzzing")]
pub(crate) use rpm::is_of;

/// What is read for it.
pub(crate) const DATABASES: [&str; 3] = [dpkg::DATABASE, rpm::DATABASES[0], rpm::DATABASES[1]];

/// The names of packages.
type Packages = Vec<Vec<u8>>;

/// The packages that a file is of.
pub(crate) fn owners(path: &[u8]) -> Found {
    match owners_in_all(path) {
        Ok(owners) => Found::all(owners),
        Err(why) => Found::unknown(why),
    }
}

/// By each database that is here: one that can't be read may have had another owner.
fn owners_in_all(path: &[u8]) -> Result<Packages, String> {
    let file = Path::new(OsStr::from_bytes(path));
    // What others can replace is no package's.
    only_roots(file)?;
    let names = names(file);
    let dpkgs = Path::new(dpkg::DATABASE);
    let mut found = vec![dpkg::owners(dpkgs, &names).map_err(|error| in_file(dpkgs, error))?];
    for database in rpm::databases(&rpm::DATABASES.map(Path::new))? {
        found.push(rpm::owners(&database, &names)?);
    }
    let found: Vec<Packages> = found.into_iter().flatten().collect();
    if found.is_empty() {
        return Err("neither dpkg nor RPM has a database here".into());
    }
    let mut owners = found.concat();
    owners.sort();
    owners.dedup();
    Ok(owners)
}

/// What packages may call it: also the names from before /bin, /usr/sbin and their like
/// were links.
fn names(file: &Path) -> Vec<Vec<u8>> {
    let path = file.as_os_str().as_bytes();
    let mut names = vec![path.to_vec()];
    for (now, before) in [
        ("/usr/", "/"),
        ("/usr/bin/", "/usr/sbin/"),
        ("/usr/bin/", "/sbin/"),
    ] {
        if let Some(rest) = path.strip_prefix(now.as_bytes()) {
            let before = [before.as_bytes(), rest].concat();
            let there = fs::canonicalize(Path::new(OsStr::from_bytes(&before)));
            if there.is_ok_and(|there| there == file) {
                names.push(before);
            }
        }
    }
    names
}

/// Fails if others than root can change it or put something else in its place.
fn only_roots(file: &Path) -> Result<(), String> {
    let way = way_to(file).map_err(|error| in_file(file, error))?;
    weak_spot(&way).map_or(Ok(()), |spot| Err(spot.to_string()))
}

fn in_file(file: &Path, error: impl Display) -> String {
    format!("{}: {error}", file.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_others_can_replace_is_no_packages() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let found = owners(file.as_os_str().as_bytes());
        assert!(found.unknown.is_some(), "{found:?}");
    }

    #[test]
    fn names_by_links_that_are_here() {
        for name in ["/usr/bin/env", "/usr/bin/none", "/opt/x"] {
            let file = Path::new(name);
            let names = names(file);
            assert_eq!(names[0], name.as_bytes());
            for other in &names[1..] {
                let other = Path::new(OsStr::from_bytes(other));
                assert_eq!(fs::canonicalize(other).unwrap(), file);
            }
        }
    }
}
