// SPDX-License-Identifier: Apache-2.0 OR MIT
//! dpkg's database: the lists of files in `/var/lib/dpkg/info`, and the diversions.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where dpkg has it.
pub(super) const DATABASE: &str = "/var/lib/dpkg";

/// The packages of a file that is called so; nothing if there is no such database.
pub(super) fn owners(database: &Path, names: &[Vec<u8>]) -> io::Result<Option<Vec<Vec<u8>>>> {
    match fs::metadata(database) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(_) => owners_in(database, names).map(Some),
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
        let names = [b"/x".to_vec()];
        assert_eq!(
            owners(&directory.path().join("none"), &names).unwrap(),
            None
        );
        // Something is there, but not what is read.
        owners(directory.path(), &names).unwrap_err();
    }
}
