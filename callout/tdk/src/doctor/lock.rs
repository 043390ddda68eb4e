// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where requests wait for their turn with the TPM.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::report::{Check, Finding};
use super::request_key::unreadable;

const DIRECTORY: &str = "/run/tdk";

pub(super) fn examine() -> Finding {
    judge(Path::new(DIRECTORY))
}

fn judge(directory: &Path) -> Finding {
    let check = Check::Lock;
    let shown = directory.display();
    let metadata = match fs::symlink_metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return check.ok(format!("{shown} is made by the first request"));
        }
        Err(error) => return unreadable(check, directory, &error),
    };
    let remove = format!("rm -r {shown}; the next request makes it again");
    if !metadata.is_dir() {
        return check.wrong(format!("{shown} is no directory"), remove);
    }
    if metadata.uid() != 0 || metadata.mode() & 0o077 != 0 {
        let seen = format!(
            "others than root can enter {shown} (uid {}, mode {:04o}), and keep requests waiting",
            metadata.uid(),
            metadata.mode() & 0o7777
        );
        return check.wrong(seen, remove);
    }
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return unreadable(check, directory, &error),
    };
    for entry in entries.flatten() {
        // Those that are no files can't be locked.
        if entry.file_type().is_ok_and(|kind| !kind.is_file()) {
            let seen = format!("{} is no file", entry.path().display());
            return check.wrong(seen, remove);
        }
    }
    check.ok(format!("only root can enter {shown}"))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::doctor::is_root;
    use crate::doctor::report::Status;

    #[test]
    fn places_to_wait() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tdk");
        let told = || {
            let finding = judge(&path);
            let seen = finding.seen.replace(&path.display().to_string(), "DIR");
            (finding.status, seen)
        };
        let is = |status, seen: &str| assert_eq!(told(), (status, seen.into()));
        is(Status::Ok, "DIR is made by the first request");
        fs::write(&path, "").unwrap();
        is(Status::Wrong, "DIR is no directory");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        if !is_root() {
            assert_eq!(told().0, Status::Wrong);
            return;
        }
        for mode in [0o755, 0o710, 0o701] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            is(
                Status::Wrong,
                &format!(
                    "others than root can enter DIR (uid 0, mode 0{mode:o}), and keep requests \
                     waiting"
                ),
            );
        }
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        is(Status::Ok, "only root can enter DIR");
        fs::write(path.join("a.lock"), "").unwrap();
        is(Status::Ok, "only root can enter DIR");
        fs::create_dir(path.join("b.lock")).unwrap();
        is(Status::Wrong, "DIR/b.lock is no file");
    }
}
