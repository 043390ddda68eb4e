// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a guest has on disks: its system, if that is Debian, and more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::GuestError;
use super::kernel::cache;
use super::machine::comma;

/// What makes Debian's image, which is called by its sum.
const MAKER: &str = include_str!("../../../scripts/debian.sh");

/// What runs in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum System {
    /// busybox and keyutils in memory, and nothing else: the quickest.
    #[default]
    Initramfs,
    /// Debian 12 with systemd, as `scripts/debian.sh` makes it.
    Debian,
}

impl System {
    /// How long a machine may run, unless somebody says otherwise.
    pub(crate) fn time_limit(self) -> Duration {
        match self {
            Self::Initramfs => Duration::from_mins(1),
            Self::Debian => Duration::from_mins(5),
        }
    }

    /// What the kernel is told for it.
    pub(crate) fn arguments(self) -> &'static str {
        match self {
            Self::Initramfs => "",
            Self::Debian => {
                "systemd.unit=tdk.target systemd.getty_auto=no systemd.show_status=no \
                 systemd.crash_reboot=yes "
            }
        }
    }

    /// What its root file system is made of, if it is one on a disk.
    ///
    /// # Errors
    ///
    /// [`GuestError::NoSystem`] if it has not been made.
    pub fn image(self) -> Result<Option<PathBuf>, GuestError> {
        if self == Self::Initramfs {
            return Ok(None);
        }
        let sum = format!("{:x}", Sha256::digest(MAKER));
        let image = cache().join("debian").join(&sum[..12]).join("root.ext4");
        if image.is_file() {
            Ok(Some(image))
        } else {
            Err(GuestError::NoSystem { image })
        }
    }
}

impl FromStr for System {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "initramfs" => Ok(Self::Initramfs),
            "debian" => Ok(Self::Debian),
            _ => Err("write initramfs or debian".into()),
        }
    }
}

/// One disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    image: PathBuf,
    /// Whether what is written to it is forgotten.
    discard: bool,
}

/// A guest's disks, in their order: the system's is the first, if it has one.
/// What `root` names keeps the system from one run to the next, and is made if it
/// is not there.
pub(crate) fn disks(
    system: System,
    root: Option<PathBuf>,
    others: &[PathBuf],
) -> Result<Vec<Disk>, GuestError> {
    let mut disks = Vec::new();
    if let Some(image) = system.image()? {
        disks.push(match root {
            Some(root) => {
                if !root.exists() {
                    copy(&image, &root)?;
                }
                Disk::kept(root)
            }
            None => Disk {
                image,
                discard: true,
            },
        });
    } else if let Some(root) = root {
        return Err(GuestError::BadFile {
            path: root,
            reason: "the guest's system is not on a disk".into(),
        });
    }
    for image in others {
        if !image.is_file() {
            return Err(GuestError::BadFile {
                path: image.clone(),
                reason: "it is no disk's image: make a file of the size wanted".into(),
            });
        }
        disks.push(Disk::kept(image.clone()));
    }
    Ok(disks)
}

impl Disk {
    fn kept(image: PathBuf) -> Self {
        Self {
            image,
            discard: false,
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        !self.discard
    }

    /// QEMU's options for it.
    pub(crate) fn options(&self, number: usize) -> [String; 4] {
        let image = comma(&self.image);
        let snapshot = if self.discard { "on" } else { "off" };
        [
            "-drive".into(),
            // Its guest may crash, but not this machine.
            format!(
                "if=none,id=disk{number},format=raw,cache=unsafe,snapshot={snapshot},file={image}"
            ),
            "-device".into(),
            format!("virtio-blk-pci,drive=disk{number},serial=disk{number}"),
        ]
    }
}

/// Copies an image, whole or not at all, and without the blocks that nothing is
/// in.
fn copy(image: &Path, to: &Path) -> Result<(), GuestError> {
    let mut new = to.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let status = Command::new("cp")
        .args(["--sparse=always", "--reflink=auto", "--"])
        .args([image, &new])
        .status()
        .map_err(GuestError::path("copying", image))?;
    if !status.success() {
        return Err(GuestError::BadFile {
            path: to.into(),
            reason: format!("{} could not be copied there: {status}", image.display()),
        });
    }
    fs::rename(&new, to).map_err(GuestError::path("making", to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!("debian".parse(), Ok(System::Debian));
        assert_eq!("initramfs".parse(), Ok(System::Initramfs));
        "fedora".parse::<System>().expect_err("none");
    }

    #[test]
    fn a_disk_that_is_none() {
        let none = PathBuf::from("/nonexistent/disk");
        let error = disks(System::Initramfs, None, &[none]).expect_err("none");
        let text = error.to_string();
        assert!(
            text.starts_with("/nonexistent/disk: it is no disk"),
            "{text}"
        );
    }

    #[test]
    fn what_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let image = directory.path().join("a,b");
        fs::write(&image, "x").expect("a file");
        let disks = disks(System::Initramfs, None, &[image]).expect("a disk");
        assert!(disks[0].is_kept());
        let [_, drive, _, device] = disks[0].options(0);
        assert!(
            drive.contains("snapshot=off") && drive.ends_with("/a,,b"),
            "{drive}"
        );
        assert_eq!(device, "virtio-blk-pci,drive=disk0,serial=disk0");
    }
}
