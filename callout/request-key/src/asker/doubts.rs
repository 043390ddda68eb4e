// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What there is to doubt about an asker: found out here, once and before anything of
//! the request is looked at, and judged by the policy.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, fstatfs, getxattr, major, minor, readlinkat, statx};
use rustix::io::Errno;
use tpm_derived_keys::policy::{Doubt, Doubts};
use tpm_derived_keys::trust::{way_to, weak_spot_to};

use super::auxv::Auxv;
use super::mounts::{not_roots_fuse, not_roots_overlay};
use super::{Asker, AskerError, Executable, PROC, field, number, own_link};

/// What statfs(2) says of FUSE, virtiofs among it.
const FUSE_SUPER_MAGIC: i64 = 0x6573_5546;

/// The same of overlays.
const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;

/// Set-uid and set-gid.
const SET_ID: u32 = 0o6000;

impl Asker {
    /// What there is to doubt about its process.
    pub(super) fn doubts(&self, status: &str) -> Result<Doubts, AskerError> {
        let mut doubts = Doubts::default();
        if let Some(tracer) = self.tracer(status)? {
            let seen = format_args!("the asker is traced by process {tracer}");
            doubts.add(Doubt::Traced, seen);
        }
        let its = readlinkat(&self.directory, "ns/user", Vec::new())
            .map_err(|error| self.error(error))?;
        let initial = readlinkat(CWD, format!("{PROC}/self/ns/user"), Vec::new())
            .map_err(|_| AskerError::Status)?;
        if its != initial {
            let seen = "the asker is in a user namespace of its own";
            doubts.add(Doubt::UserNamespace, seen);
        }
        Ok(doubts)
    }

    /// What there is to doubt about its executable. What can't be told is doubted.
    pub(super) fn doubt_executable(
        &self,
        doubts: &mut Doubts,
        status: &str,
        executable: &Executable,
        is_named: bool,
    ) {
        let auxv = self.read_bytes("auxv").map(|bytes| Auxv::parse(&bytes));
        let mut add = |doubt, seen: Option<String>| {
            if let Some(seen) = seen {
                doubts.add(doubt, seen);
            }
        };
        add(
            Doubt::SetUid,
            set_uid(status, executable, auxv.as_ref().ok()),
        );
        if is_named {
            add(Doubt::WritablePath, writable_path(status, executable));
        }
        let mounts = || self.read("mountinfo").unwrap_or_default();
        add(Doubt::Fuse, fuse(executable, mounts));
        let mapped = auxv.and_then(|auxv| self.has_mapped(&executable.version, auxv));
        let seen = match mapped {
            Ok(true) => None,
            Ok(false) => Some("the asker's executable is not mapped where it began".into()),
            Err(error) => Some(format!(
                "can't tell whether the asker's executable is: {error}"
            )),
        };
        add(Doubt::Unmapped, seen);
    }
}

/// Who has started a program that has rights of its own.
///
/// What root has made another user (by setpriv(1), or a daemon that acts for one) is not
/// doubted: root may be anybody.
fn set_uid(status: &str, executable: &Executable, auxv: Option<&Auxv>) -> Option<String> {
    let ids = |name| field(status, name, 0).zip(field(status, name, 3));
    let (Some((real, uid)), Some(gids)) = (ids("Uid:"), ids("Gid:")) else {
        return Some("who has started the asker can't be told".into());
    };
    if real != 0 && real != uid {
        return Some(format!(
            "the asker runs as uid {uid}, but uid {real} has started it"
        ));
    }
    if real != 0 && gids.0 != gids.1 {
        return Some("the asker is set-gid, and somebody else has started it".into());
    }
    // It may have changed its ids since.
    let Some(auxv) = auxv else {
        return Some("how the asker was started can't be told".into());
    };
    (auxv.secure && gives_rights(executable)).then(|| {
        "the asker's executable is set-uid or the like, and somebody else has started it".into()
    })
}

/// Whether whoever starts it has other rights then.
fn gives_rights(executable: &Executable) -> bool {
    let name = own_link(&executable.handle);
    let capabilities = getxattr(name, "security.capability", &mut [0_u8; 64]);
    executable.version.mode & SET_ID != 0
        || !matches!(capabilities, Err(Errno::NODATA | Errno::OPNOTSUPP))
}

/// Who else could put a program where the executable is, for the asker's user to start.
///
/// A sticky directory, such as `/tmp`, lets nobody else remove or rename what is the
/// asker's or root's. Once that is gone by itself others can have the name; but what they
/// put there is theirs, and so is refused when the asker's user starts it, and when they
/// start it themselves the key is of their uid. (A hard link there to another program of
/// the asker's user is what root forbids by `fs.protected_hardlinks`, as Debian does.)
fn writable_path(status: &str, executable: &Executable) -> Option<String> {
    let name = executable.name.as_deref()?;
    let way = way_to(Path::new(OsStr::from_bytes(name)));
    let uid = field(status, "Uid:", 3).unwrap_or_default();
    match way {
        Ok(way) => weak_spot_to(&way, uid).map(|spot| {
            format!("others can put another program where the asker's executable is: {spot}")
        }),
        Err(error) => Some(format!(
            "who can write where the asker's executable is can't be told: {error}"
        )),
    }
}

/// Who answers for what is read of the executable, if not the kernel or root. `theirs`
/// is what is mounted where the asker is.
fn fuse(executable: &Executable, theirs: impl FnOnce() -> String) -> Option<String> {
    let here = || {
        let mounts = std::fs::read(format!("{PROC}/self/mountinfo")).unwrap_or_default();
        String::from_utf8_lossy(&mounts).into_owned()
    };
    let what = match fstatfs(&executable.handle).map(|statfs| number(statfs.f_type)) {
        Ok(FUSE_SUPER_MAGIC) => {
            let device = executable.version.device;
            not_roots_fuse(&here(), (major(device), minor(device)))
        }
        // A user can mount one, over a FUSE file system of theirs.
        Ok(OVERLAYFS_SUPER_MAGIC) => {
            let mount = statx(
                &executable.handle,
                "",
                AtFlags::EMPTY_PATH,
                StatxFlags::MNT_ID,
            );
            // Kernels before 5.8 can't tell, and let no user mount one.
            let mount = mount
                .ok()
                .filter(|mount| mount.stx_mask & StatxFlags::MNT_ID.bits() != 0);
            mount.and_then(|mount| not_roots_overlay(&here(), &theirs(), mount.stx_mnt_id))
        }
        Ok(_) => None,
        Err(error) => Some(format!("is on a file system that can't be told: {error}")),
    };
    what.map(|what| format!("the asker's executable {what}"))
}
