// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What this program can do once everything is open: little. From then on it handles
//! what askers and TPMs say.
//!
//! Each layer does what the kernel can do, and is left out where it can't: the log
//! says which there were. All of them are the calling thread's, and that of threads
//! it starts afterwards; so there must be no other yet.
//!
//! - capabilities: none, but for what the configuration and the policy make
//!   necessary, and that not for longer than it is;
//! - `no_new_privs`;
//! - Landlock: the few files that are opened later, and the TPM;
//! - seccomp: the system calls that are made later. Others fail with EPERM, so that a
//!   C library of tomorrow costs no more than a request; those that only an attacker
//!   has a use for end the process by SIGSYS.

use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{Access as Mode, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use tpm_derived_keys::tpm::Tcti;

use crate::packages;

mod calls;
mod search;

/// Up to which version of Landlock its rights are known here.
const LANDLOCK: ABI = ABI::V6;

/// What has to be possible in it.
#[derive(Debug)]
pub(crate) struct Needs<'a> {
    /// The TPM that is going to be opened.
    pub(crate) tcti: &'a Tcti,
    /// Where its lock is.
    pub(crate) locks: Option<&'a Path>,
    /// Whether the policy may have rules that give keys permissions of their own.
    pub(crate) permissions: bool,
    /// The key under construction.
    pub(crate) key: i32,
}

/// The layers that there are, and the capabilities that are left.
#[derive(Debug)]
pub(crate) struct Sandbox {
    left: CapabilitySet,
    layers: String,
}

impl Sandbox {
    /// Closes it. Only what has been opened, and what is needed, is there afterwards.
    pub(crate) fn close(needs: &Needs<'_>) -> Self {
        let mut layers = String::new();
        let mut add = |there: bool, layer: &str| {
            if there {
                let gap = if layers.is_empty() { "" } else { "," };
                // Writing to a String does not fail.
                let _ = write!(layers, "{gap}{layer}");
            }
        };
        add(set_no_new_privs(true).is_ok(), "no_new_privs");
        let landlock = restrict_files(needs);
        let is_there = |status: RulesetStatus| status != RulesetStatus::NotEnforced;
        add(landlock.is_ok_and(is_there), "landlock");
        let mut left = CapabilitySet::empty();
        if needs.permissions {
            // KEYCTL_SETPERM asks for it, of who does not own the key.
            left |= CapabilitySet::SYS_ADMIN;
        }
        if !is_roots(needs.tcti) {
            left |= CapabilitySet::DAC_OVERRIDE;
        }
        add(keep(left), "capabilities");
        add(calls::restrict(needs).is_ok(), "seccomp");
        Self { left, layers }
    }

    /// The layers that there are, for the log.
    pub(crate) fn layers(&self) -> &str {
        &self.layers
    }

    /// The TPM will not be opened again.
    pub(crate) fn drop_tpm(&mut self) {
        self.drop(CapabilitySet::DAC_OVERRIDE);
    }

    /// The key's permissions are as they are to be.
    pub(crate) fn drop_permissions(&mut self) {
        self.drop(CapabilitySet::SYS_ADMIN);
    }

    fn drop(&mut self, capability: CapabilitySet) {
        if self.left.intersects(capability) {
            self.left -= capability;
            keep(self.left);
        }
    }
}

/// Drops all capabilities of the calling thread but these.
pub(crate) fn keep(capabilities: CapabilitySet) -> bool {
    let sets = CapabilitySets {
        effective: capabilities,
        permitted: capabilities,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).is_ok()
}

/// Whether root can open the TPM without a capability. (/dev/tpmrm0 is tss's on
/// Debian, and a software TPM's socket whoever's it likes.)
fn is_roots(tcti: &Tcti) -> bool {
    let path = match tcti {
        Tcti::Device(path) | Tcti::SwtpmUnix(path) => path,
        Tcti::SwtpmTcp(_) => return true,
    };
    let Ok(all) = rustix::thread::capabilities(None) else {
        return false;
    };
    // Kernels before 5.8 don't ask by what is effective.
    let probe = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
    if accessat(CWD, "/", Mode::EXISTS, probe).is_err() {
        return false;
    }
    let none_effective = CapabilitySets {
        effective: CapabilitySet::empty(),
        ..all
    };
    let may = set_capabilities(None, none_effective)
        .and_then(|()| accessat(CWD, path, Mode::READ_OK | Mode::WRITE_OK, AtFlags::EACCESS));
    let _ = set_capabilities(None, all);
    may != Err(Errno::ACCESS)
}

/// Landlock.
fn restrict_files(needs: &Needs<'_>) -> Result<RulesetStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    // What policies ask about askers.
    for path in ["/etc/passwd", "/etc/group"] {
        rules = allow(rules, Path::new(path), AccessFs::ReadFile.into())?;
    }
    for path in packages::DATABASES {
        rules = allow(rules, Path::new(path), read)?;
    }
    // What this process has mapped, and its threads: to wipe the memory.
    if let Ok(own) = PathFd::new("/proc/self") {
        rules = rules.add_rule(PathBeneath::new(own.as_fd(), read))?;
        // A rule is for an inode, and the kernel makes another one of /proc when it
        // has needed the memory of one that nobody uses. So this is held open to the
        // end, which comes after everything here has been dropped.
        std::mem::forget(own);
    }
    if let Some(locks) = needs.locks {
        let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::MakeReg;
        rules = allow(rules, locks, access)?;
    }
    match needs.tcti {
        Tcti::Device(path) => {
            rules = allow(rules, path, AccessFs::ReadFile | AccessFs::WriteFile)?;
        }
        Tcti::SwtpmTcp(address) => {
            rules = rules.add_rule(NetPort::new(address.port(), AccessNet::ConnectTcp))?;
        }
        Tcti::SwtpmUnix(_) => {}
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// What is not there is not needed.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(file) => rules.add_rule(PathBeneath::new(file.as_fd(), access)),
        Err(_) => Ok(rules),
    }
}
