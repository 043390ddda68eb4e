// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which Debian package a file is of, by dpkg's database: the lists of files in
//! `/var/lib/dpkg/info`, and the diversions. No program is run for it.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use tpm_derived_keys::policy::Found;
use tpm_derived_keys::trust::{way_to, weak_spot};

const DATABASE: &str = "/var/lib/dpkg";

/// The packages that a file is of.
pub(crate) fn owners(path: &[u8]) -> Found {
    let file = Path::new(std::ffi::OsStr::from_bytes(path));
    // What others can replace is no package's.
    let way = match way_to(file) {
        Ok(way) => way,
        Err(error) => return Found::unknown(error),
    };
    if let Some(spot) = weak_spot(&way) {
        return Found::unknown(spot);
    }
    // Packages call it by the name from before /bin and its like were links.
    let mut names = vec![path.to_vec()];
    if let Some(before) = path.strip_prefix(b"/usr") {
        let there = fs::canonicalize(Path::new(std::ffi::OsStr::from_bytes(before)));
        if there.is_ok_and(|there| there == file) {
            names.push(before.to_vec());
        }
    }
    match owners_in(Path::new(DATABASE), &names) {
        Ok(owners) => Found::all(owners),
        Err(error) => Found::unknown(format_args!("{DATABASE}: {error}")),
    }
}

/// A file that packages have under one name and that is under another.
pub(crate) struct Diversion {
    from: Vec<u8>,
    to: Vec<u8>,
    /// Whose own file is at the first name; `:` if nobody's.
    by: Vec<u8>,
}

fn owners_in(database: &Path, names: &[Vec<u8>]) -> io::Result<Vec<Vec<u8>>> {
    let diversions =
        diversions(
            &fs::read(database.join("diversions")).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(Vec::new()),
                _ => Err(error),
            })?,
        );
    // What the lists call it, and who of them means another file by that.
    let mut listed: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    for diversion in &diversions {
        if names.contains(&diversion.to) {
            listed.push(&diversion.from);
        }
    }
    let is_it = |package: &[u8], name: &[u8]| {
        let diverted = diversions
            .iter()
            .find(|diversion| diversion.from == name && diversion.by != package);
        match diverted {
            Some(diversion) => names.contains(&diversion.to),
            None => names.iter().any(|ours| ours == name),
        }
    };
    let mut owners = Vec::new();
    for (package, file) in lists(&database.join("info"))? {
        let list = fs::read(file)?;
        let mut lines = list.split(|byte| *byte == b'\n');
        if lines.any(|line| listed.contains(&line) && is_it(&package, line)) {
            owners.push(package);
        }
    }
    owners.sort();
    owners.dedup();
    Ok(owners)
}

/// Three lines each.
pub(crate) fn diversions(text: &[u8]) -> Vec<Diversion> {
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    let diversion = |lines: &[&[u8]]| Diversion {
        from: lines[0].to_vec(),
        to: lines[1].to_vec(),
        by: lines[2].to_vec(),
    };
    lines.chunks_exact(3).map(diversion).collect()
}

/// `PACKAGE.list` or `PACKAGE:ARCHITECTURE.list`, each with its package.
fn lists(directory: &Path) -> io::Result<Vec<(Vec<u8>, PathBuf)>> {
    let mut lists = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().into_vec();
        if let Some(name) = name.strip_suffix(b".list") {
            let package = name.split(|byte| *byte == b':').next().unwrap_or(name);
            lists.push((package.to_vec(), entry.path()));
        }
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners_of(names: &[&str]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let info = directory.path().join("info");
        fs::create_dir(&info).unwrap();
        for (name, content) in [
            ("bash.list", "/.\n/bin\n/bin/bash\n"),
            ("dash.list", "/.\n/usr/bin\n/bin/sh\n"),
            ("libx:amd64.list", "/usr/lib/x.so\n"),
            ("bash.md5sums", "/usr/bin/none\n"),
            ("other.list", "/usr/bin/bash2\n/bin/sh\n/usr/lib/x.so"),
            ("local.list", "/usr/bin/ls\n"),
        ] {
            fs::write(info.join(name), content).unwrap();
        }
        let diversions = "/bin/sh\n/bin/sh.distrib\ndash\n/usr/bin/ls\n/usr/bin/ls.real\n:\n";
        fs::write(directory.path().join("diversions"), diversions).unwrap();
        let names: Vec<_> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let owners = owners_in(directory.path(), &names).unwrap();
        let text = |name: Vec<u8>| String::from_utf8(name).unwrap();
        owners.into_iter().map(text).collect()
    }

    #[test]
    fn whose_it_is() {
        assert_eq!(owners_of(&["/usr/bin/bash", "/bin/bash"]), ["bash"]);
        assert_eq!(owners_of(&["/usr/bin/bash"]), [""; 0]);
        assert_eq!(owners_of(&["/usr/lib/x.so"]), ["libx", "other"]);
        assert_eq!(owners_of(&["/usr/bin/none"]), [""; 0]);
        assert_eq!(owners_of(&["/bin/bas"]), [""; 0]);
    }

    #[test]
    fn what_was_diverted() {
        assert_eq!(owners_of(&["/bin/sh"]), ["dash"]);
        assert_eq!(owners_of(&["/bin/sh.distrib"]), ["other"]);
        assert_eq!(owners_of(&["/usr/bin/ls"]), [""; 0]);
        assert_eq!(owners_of(&["/usr/bin/ls.real"]), ["local"]);
    }

    #[test]
    fn without_a_database() {
        let directory = tempfile::tempdir().unwrap();
        owners_in(directory.path(), &[b"/x".to_vec()]).unwrap_err();
    }

    #[test]
    fn what_others_can_replace_is_no_packages() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x");
        fs::write(&file, "").unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(&file, permissions).unwrap();
        let found = owners(file.as_os_str().as_bytes());
        assert!(found.unknown.is_some(), "{found:?}");
    }
}
