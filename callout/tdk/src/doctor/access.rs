// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who can talk to the TPM: whoever can, can derive everybody's keys.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::getxattr;
use tpm_derived_keys::tpm::Tcti;

use super::report::{Check, Finding, Report};
use super::request_key::unreadable;

const ACCESS_LIST: &str = "system.posix_acl_access";

/// Looks at the device or socket: [`Check::Device`] and [`Check::Access`].
/// Whether it is there.
pub(super) fn examine(report: &mut Report, tcti: &Tcti) -> bool {
    let place = match tcti {
        Tcti::Device(path) => device(path),
        Tcti::SwtpmUnix(path) => socket(path),
        Tcti::SwtpmTcp(address) => {
            report.add(Check::Device.remark("a software TPM: keys are as safe as its state is"));
            let seen = if address.ip().is_loopback() {
                format!("every user of this machine can connect to {address}")
            } else {
                format!("anybody can listen on the way to {address}")
            };
            report.add(Check::Access.warning(seen, "use a device, or a unix socket"));
            return true;
        }
    };
    let (found, nodes) = place;
    let is_there = !nodes.is_empty();
    report.add(found);
    report.add(if is_there {
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        judge(&nodes, &groups)
    } else {
        Check::Access.depends_on(Check::Device)
    });
    is_there
}

/// A device or socket, and who may open it.
#[derive(Clone, Debug)]
struct Node {
    path: PathBuf,
    uid: u32,
    gid: u32,
    mode: u32,
    /// There is an access control list besides.
    has_list: bool,
}

impl Node {
    fn new(path: &Path, metadata: &fs::Metadata) -> Self {
        Self {
            path: path.into(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode() & 0o777,
            has_list: getxattr(path, ACCESS_LIST, &mut [0_u8; 0]).is_ok(),
        }
    }
}

/// What there is at a device's path, and all ways to the same TPM.
fn device(path: &Path) -> (Finding, Vec<Node>) {
    let check = Check::Device;
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return (missing(path, &error, tpm_hint()), Vec::new()),
    };
    if !metadata.file_type().is_char_device() {
        let seen = format!("{shown} is no character device");
        return (
            check.wrong(seen, "let tcti name the TPM's device"),
            Vec::new(),
        );
    }
    let mut nodes = vec![Node::new(path, &metadata)];
    let twin = twin(path);
    if let Some((twin, _)) = &twin
        && let Ok(metadata) = fs::metadata(twin)
    {
        nodes.push(Node::new(twin, &metadata));
    }
    let finding = match twin {
        Some((managed, Way::ToManaged)) if nodes.len() > 1 => check.warning(
            format!("{shown} has one user at a time, and nothing cleans up after them"),
            format!(
                "let tcti name the kernel's resource manager, {}",
                managed.display()
            ),
        ),
        Some((managed, Way::ToManaged)) => check.warning(
            format!(
                "{shown} is there, and its resource manager {} is not",
                managed.display()
            ),
            "use a kernel that has one (4.12 and later), so that users of the TPM are kept apart",
        ),
        _ => check.ok(format!("{shown} is there")),
    };
    (finding, nodes)
}

fn tpm_hint() -> &'static str {
    "switch the TPM on in the firmware setup, and see the kernel's log for why there is no device"
}

fn missing(path: &Path, error: &io::Error, hint: &str) -> Finding {
    if error.kind() == io::ErrorKind::NotFound {
        return Check::Device.wrong(format!("there is no {}", path.display()), hint);
    }
    unreadable(Check::Device, path, error)
}

/// Which of the two devices of a TPM another one is.
enum Way {
    ToManaged,
    ToRaw,
}

/// The other device of the same TPM: tpm0 and tpmrm0 are one chip.
fn twin(path: &Path) -> Option<(PathBuf, Way)> {
    let name = path.file_name()?.to_str()?;
    let (name, way) = match name.strip_prefix("tpmrm") {
        Some(number) => (format!("tpm{number}"), Way::ToRaw),
        None => (
            format!("tpmrm{}", name.strip_prefix("tpm")?),
            Way::ToManaged,
        ),
    };
    Some((path.with_file_name(name), way))
}

/// What there is at a software TPM's path.
fn socket(path: &Path) -> (Finding, Vec<Node>) {
    let check = Check::Device;
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            let hint = "start that software TPM, or let tcti name the one that runs";
            return (missing(path, &error, hint), Vec::new());
        }
    };
    if !metadata.file_type().is_socket() {
        let seen = format!("{} is no socket", path.display());
        return (
            check.wrong(seen, "let tcti name the software TPM's socket"),
            Vec::new(),
        );
    }
    let mut node = Node::new(path, &metadata);
    // Who can't come near can't connect.
    for directory in path.ancestors().skip(1) {
        match fs::metadata(directory) {
            Ok(metadata) if metadata.mode() & 0o001 == 0 => node.mode &= !0o007,
            _ => {}
        }
    }
    let finding = check.remark(format!(
        "{} is a software TPM: keys are as safe as its state is",
        path.display()
    ));
    (finding, vec![node])
}

/// Who may send commands, for which write permission is what counts.
fn judge(nodes: &[Node], groups: &str) -> Finding {
    let check = Check::Access;
    if let Some(node) = nodes.iter().find(|node| node.mode & 0o002 != 0) {
        let path = node.path.display();
        return check.wrong(
            format!(
                "everybody can use {path} (mode {:04o}), and so derive every key",
                node.mode
            ),
            format!("chmod o-rw {path}, and correct the udev rule that sets it"),
        );
    }
    if let Some(node) = nodes.iter().find(|node| node.has_list) {
        let path = node.path.display();
        return check.warning(
            format!("{path} has an access control list, which can let anybody derive every key"),
            format!("see 'getfacl {path}'"),
        );
    }
    let mut others = Vec::new();
    let mut add = |who: String| {
        if !others.contains(&who) {
            others.push(who);
        }
    };
    for node in nodes {
        if node.uid != 0 && node.mode & 0o200 != 0 {
            add(format!("uid {}", node.uid));
        }
        if node.gid != 0 && node.mode & 0o020 != 0 {
            add(group(node.gid, groups));
        }
    }
    if others.is_empty() {
        return check.ok("only root can use it");
    }
    check.note(
        format!(
            "besides root, {} can use it, and so derive every key",
            others.join(" and ")
        ),
        "see that nobody is in there who has no business with the TPM",
    )
}

/// A group, and who /etc/group says is in it.
fn group(gid: u32, groups: &str) -> String {
    let found = groups.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, number, members] = fields[..] else {
            return None;
        };
        (number.parse() == Ok(gid)).then_some((name, members))
    });
    match found {
        Some((name, "")) => format!("group {name}"),
        Some((name, members)) => format!("group {name} ({})", members.replace(',', ", ")),
        None => format!("group {gid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    const GROUPS: &str = "root:x:0:\ntss:x:110:ann,bob\nempty:x:5:\n";

    fn node(path: &str, uid: u32, gid: u32, mode: u32) -> Node {
        Node {
            path: path.into(),
            uid,
            gid,
            mode,
            has_list: false,
        }
    }

    #[test]
    fn who_can_use_a_device() {
        let also = |who: &str| format!("besides root, {who} can use it, and so derive every key");
        let everybody = "everybody can use /dev/tpm0 (mode 0666), and so derive every key";
        for (managed, raw, status, seen) in [
            (
                (0, 0, 0o600),
                (0, 0, 0o600),
                Status::Ok,
                "only root can use it".into(),
            ),
            (
                (0, 0, 0o660),
                (0, 0, 0o660),
                Status::Ok,
                "only root can use it".into(),
            ),
            // Reading gets nobody anything.
            (
                (0, 0, 0o664),
                (0, 0, 0o644),
                Status::Ok,
                "only root can use it".into(),
            ),
            (
                (0, 110, 0o640),
                (0, 0, 0o600),
                Status::Ok,
                "only root can use it".into(),
            ),
            (
                (0, 110, 0o660),
                (0, 110, 0o660),
                Status::Note,
                also("group tss (ann, bob)"),
            ),
            (
                (0, 5, 0o660),
                (0, 0, 0o600),
                Status::Note,
                also("group empty"),
            ),
            (
                (0, 7, 0o660),
                (110, 0, 0o660),
                Status::Note,
                also("group 7 and uid 110"),
            ),
            (
                (0, 0, 0o600),
                (0, 0, 0o666),
                Status::Wrong,
                everybody.into(),
            ),
        ] {
            let nodes = [
                node("/dev/tpmrm0", managed.0, managed.1, managed.2),
                node("/dev/tpm0", raw.0, raw.1, raw.2),
            ];
            let finding = judge(&nodes, GROUPS);
            assert_eq!((finding.status, finding.seen), (status, seen));
        }
    }

    #[test]
    fn access_control_lists_are_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tpm0");
        fs::write(&path, "").unwrap();
        let node = || Node::new(&path, &fs::metadata(&path).unwrap());
        assert!(!node().has_list);
        // Version 2; owner, user 7, group, mask, others.
        let entries: [(u16, u16, u32); 5] = [
            (0x01, 6, u32::MAX),
            (0x02, 6, 7),
            (0x04, 0, u32::MAX),
            (0x10, 6, u32::MAX),
            (0x20, 0, u32::MAX),
        ];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            list.extend(tag.to_le_bytes());
            list.extend(permissions.to_le_bytes());
            list.extend(id.to_le_bytes());
        }
        let flags = rustix::fs::XattrFlags::empty();
        match rustix::fs::setxattr(&path, ACCESS_LIST, &list, flags) {
            Err(rustix::io::Errno::OPNOTSUPP) => return,
            other => other.unwrap(),
        }
        assert!(node().has_list);
        assert_eq!(judge(&[node()], GROUPS).status, Status::Warning);
    }

    #[test]
    fn one_chip_has_two_devices() {
        let twin = |path: &str| twin(Path::new(path)).map(|(twin, _)| twin);
        assert_eq!(twin("/dev/tpmrm1"), Some("/dev/tpm1".into()));
        assert_eq!(twin("/dev/tpm0"), Some("/dev/tpmrm0".into()));
        assert_eq!(twin("/dev/null"), None);
    }

    #[test]
    fn what_is_no_device() {
        let seen = |path: &str| {
            let (finding, nodes) = device(Path::new(path));
            assert!(nodes.is_empty());
            assert_eq!(finding.status, Status::Wrong);
            finding.seen
        };
        assert_eq!(seen("/nonexistent"), "there is no /nonexistent");
        assert_eq!(seen("/etc/passwd"), "/etc/passwd is no character device");
        let (finding, nodes) = socket(Path::new("/etc/passwd"));
        assert!(nodes.is_empty());
        assert_eq!(finding.seen, "/etc/passwd is no socket");
    }
}
