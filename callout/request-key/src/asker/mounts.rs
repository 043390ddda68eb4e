// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who answers for a file system, as far as `/proc/<tid>/mountinfo` tells.

/// Why a FUSE file system is not root's: another user answers for what is read there.
/// `device` is its number as the kernel writes it, `mountinfo` what is mounted here.
pub(super) fn not_roots_fuse(mountinfo: &str, device: (u32, u32)) -> Option<String> {
    let device = format!("{}:{}", device.0, device.1);
    let mount = mountinfo
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(&device));
    // "... - TYPE SOURCE OPTIONS"
    let told = mount.and_then(|line| line.split_once(" - ")).map(|told| {
        let mut words = told.1.split(' ');
        (words.next(), words.nth(1).unwrap_or_default())
    });
    let Some((kind, options)) = told else {
        return Some("is on a FUSE file system that is not mounted here".into());
    };
    if kind == Some("virtiofs") {
        return None;
    }
    let user = options
        .split(',')
        .find_map(|option| option.strip_prefix("user_id="));
    match user {
        Some("0") => None,
        Some(user) => Some(format!("is on a FUSE file system of uid {user}")),
        None => Some("is on a FUSE file system of nobody knows whom".into()),
    }
}

/// Why an overlay is not root's: it is not mounted here, neither as the mount that the
/// executable is on nor as another of the same file system. `theirs` is what is mounted
/// where the asker is.
pub(super) fn not_roots_overlay(here: &str, theirs: &str, mount: u64) -> Option<String> {
    // "ID PARENT MAJOR:MINOR ..."
    let mount = mount.to_string();
    let device = [here, theirs]
        .into_iter()
        .flat_map(str::lines)
        .find(|line| line.split(' ').next() == Some(&mount))
        .and_then(|line| line.split(' ').nth(2));
    let is_here = device.is_some_and(|device| {
        let mut devices = here.lines().filter_map(|line| line.split(' ').nth(2));
        devices.any(|other| other == device)
    });
    (!is_here).then(|| "is on an overlay that is not mounted here".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_overlay_it_is() {
        let theirs = "\
            70 60 0:40 / / rw - overlay overlay rw,lowerdir=/l\n\
            71 60 0:55 / /o rw - overlay overlay rw,lowerdir=/f,userxattr\n";
        let here = format!("{MOUNTS}30 27 0:40 / /live rw - overlay overlay rw,lowerdir=/l\n");
        for (mount, is_roots) in [(30, true), (70, true), (71, false), (99, false)] {
            let why = not_roots_overlay(&here, theirs, mount);
            assert_eq!(why.is_none(), is_roots, "{mount}");
        }
    }

    const MOUNTS: &str = "\
        22 27 0:20 / /sys rw shared:7 - sysfs sysfs rw\n\
        40 27 0:41 / /home/b/x rw,nosuid,nodev shared:9 - fuse.sshfs a\\040-\\040b: rw,user_id=1000,group_id=0\n\
        41 27 0:42 / /srv rw - fuse /dev/fuse rw,user_id=0,group_id=0,allow_other\n\
        42 27 0:43 / / rw master:1 - virtiofs root rw\n\
        43 27 8:1 / /win rw - fuseblk /dev/sda1 rw,user_id=0,group_id=0\n";

    #[test]
    fn whose_it_is() {
        for (device, expected) in [
            ((0, 41), Some("is on a FUSE file system of uid 1000")),
            ((0, 42), None),
            ((0, 43), None),
            ((8, 1), None),
            (
                (0, 4),
                Some("is on a FUSE file system that is not mounted here"),
            ),
            (
                (0, 20),
                Some("is on a FUSE file system of nobody knows whom"),
            ),
        ] {
            assert_eq!(
                not_roots_fuse(MOUNTS, device).as_deref(),
                expected,
                "{device:?}"
            );
        }
    }
}
