// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a policy may want to know about an asker besides what it is identified by.
//! Each is found out when a decision hangs on it, and not before.

use rustix::io::Errno;
use tpm_derived_keys::policy::{Doubts, Field, Found, Source, is_unit, to_hex};

use super::{AskerError, Checked, DELETED, field};
use crate::accounts;
use crate::packages;

impl Source for &Checked {
    fn find(&mut self, field: Field) -> Found {
        let found = match field {
            Field::Uid => Ok(Found::known(self.uid.to_string())),
            Field::User => Ok(accounts::names_of_user(self.uid)),
            Field::Gid => self.gids().map(|gids| {
                let gids = gids.iter().map(|gid| gid.to_string().into_bytes());
                Found::all(gids.collect())
            }),
            Field::Group => self.gids().map(|gids| accounts::names_of_groups(&gids)),
            Field::Exe => self.name().map(Found::known),
            Field::Unit => self.unit(),
            Field::Label => self.label(),
            Field::Package => self.name().map(|name| packages::owners(&name)),
            Field::Sha256 => self
                .with_executable(super::Seen::sha256)
                .map(|digest| Found::known(to_hex(&digest))),
            Field::KeyId | Field::KeyType | Field::What | Field::Identity => {
                Ok(Found::unknown("no asker's"))
            }
        };
        found.unwrap_or_else(Found::unknown)
    }

    fn doubts(&self) -> Doubts {
        self.doubts.clone()
    }
}

impl Checked {
    /// The filesystem gid and the supplementary ones.
    fn gids(&self) -> Result<Vec<u32>, AskerError> {
        gids(&self.status).ok_or(AskerError::Status)
    }

    fn unit(&self) -> Result<Found, AskerError> {
        let cgroup = self.cgroup.as_ref().map_err(Clone::clone)?;
        Ok(unit(&String::from_utf8_lossy(cgroup)))
    }

    fn label(&self) -> Result<Found, AskerError> {
        match &self.label {
            Ok(label) => {
                let label = label.strip_suffix(b"\n").unwrap_or(label);
                Ok(Found::known(label.strip_suffix(b"\0").unwrap_or(label)))
            }
            // What a kernel says in which no security module has labels.
            Err(AskerError::Read(Errno::INVAL)) => {
                Ok(Found::unknown("no security module labels processes here"))
            }
            Err(error) => Err(error.clone()),
        }
    }
}

pub(super) fn gids(status: &str) -> Option<Vec<u32>> {
    let supplementary = status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))?;
    let supplementary = supplementary.split_ascii_whitespace().map(str::parse);
    let mut gids: Vec<u32> = supplementary.collect::<Result<_, _>>().ok()?;
    gids.push(field(status, "Gid:", 3)?);
    gids.sort_unstable();
    gids.dedup();
    Some(gids)
}

/// The systemd unit that a cgroup is, or is in, by `/proc/<thread>/cgroup`: what
/// stands below the slices. What a user's own manager has below its unit is that
/// user's to name.
pub(super) fn unit(cgroup: &str) -> Found {
    let Some(path) = cgroup.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Found::unknown("the kernel tells no cgroup of version 2");
    };
    if path == "/" || path.starts_with("/..") || path.as_bytes().ends_with(DELETED) {
        let path = path.escape_default();
        return Found::unknown(format_args!("cgroup {path} tells no unit"));
    }
    let mut names = path.split('/').filter(|name| !name.is_empty());
    let below_slices = names.find(|name| !name.as_bytes().ends_with(b".slice"));
    // How systemd escapes what would be a name of the kernel's.
    let name = below_slices.map(|name| name.strip_prefix('_').unwrap_or(name));
    match name {
        Some(name) if is_unit(name.as_bytes()) => Found::known(name),
        _ => Found::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(cgroup: &str) -> Option<String> {
        let found = unit(cgroup);
        assert_eq!(found.unknown, None, "{cgroup}");
        let name = found.values.into_iter().next()?;
        Some(String::from_utf8(name).unwrap())
    }

    #[test]
    fn units_of_cgroups() {
        for (path, expected) in [
            ("/system.slice/nginx.service", "nginx.service"),
            ("/nginx.service", "nginx.service"),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                "getty@tty1.service",
            ),
            ("/system.slice/docker.service/payload", "docker.service"),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                "session-3.scope",
            ),
            ("/system.slice/_cgroup.x.service", "cgroup.x.service"),
            ("/init.scope", "init.scope"),
            // Named by the user, so not to be believed.
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service",
                "user@1000.service",
            ),
        ] {
            let text = format!("1:name=systemd:/x.service\n0::{path}\n");
            assert_eq!(known(&text).as_deref(), Some(expected), "{path}");
        }
        for path in ["/system.slice", "/docker/1234", "/docker/nginx.service"] {
            assert_eq!(known(&format!("0::{path}\n")), None, "{path}");
        }
    }

    #[test]
    fn cgroups_that_tell_nothing() {
        for text in [
            "",
            "1:name=systemd:/system.slice/nginx.service\n",
            "0::/\n",
            "0::/../nginx.service\n",
            "0::/system.slice/nginx.service (deleted)\n",
        ] {
            let found = unit(text);
            assert!(found.values.is_empty() && found.unknown.is_some(), "{text}");
        }
    }

    #[test]
    fn the_fourth_gid_and_the_groups() {
        let status = "Name:\tx\nUid:\t0\t0\t0\t0\nGid:\t1\t2\t3\t4\nGroups:\t4 27 100 \n";
        assert_eq!(gids(status), Some(vec![4, 27, 100]));
        // Its own group is wherever its number has it.
        let status = "Gid:\t100\t100\t100\t100\nGroups:\t4 27 100 1000\n";
        assert_eq!(gids(status), Some(vec![4, 27, 100, 1000]));
        assert_eq!(gids("Gid:\t1\t2\t3\t4\nGroups:\t \n"), Some(vec![4]));
        assert_eq!(gids("Gid:\t1\t2\t3\t4\n"), None);
        assert_eq!(gids("Gid:\t1\nGroups:\t\n"), None);
        assert_eq!(gids("Gid:\t1\t2\t3\t4\nGroups:\tx\n"), None);
    }
}
