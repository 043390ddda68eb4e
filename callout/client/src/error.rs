// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why there is no key.

use std::fmt;
use std::io;

/// Why there is no key. [`Error::hint`] tells what to do about it; why exactly
/// the callout refused is in its log alone.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The key id has this many bytes, not 1 to 255.
    KeyIdLength(usize),
    /// The key id contains a byte 0.
    KeyIdNul,
    /// A key of this many bytes was asked for, not of 1 to 1024.
    Length(u16),
    /// An RSA key of this many bits was asked for, not of 2048, 3072 or 4096.
    Bits(u16),
    /// EACCES: the asker is not who it seems, or may not have this key; or the
    /// TPM's owner has a password.
    Refused,
    /// EINVAL: the callout does not understand the request.
    Malformed,
    /// ENODEV: there is no TPM, or its owner hierarchy is switched off.
    NoTpm,
    /// EKEYREVOKED: the TPM is not the one that this system was enrolled with.
    OtherTpm,
    /// EAGAIN: the TPM is busy or silent, or the callout crashed.
    Later,
    /// EKEYREJECTED: anything else that keeps the callout from making the key.
    Failed,
    /// ENOKEY, ENOENT: nobody answered the kernel.
    NobodyAnswers,
    /// EDQUOT: the user's quota of keys is full.
    Quota,
    /// ENOSYS, EPERM: this process may not use keyrings.
    NoKeyrings,
    /// The process's own keyring has a key of this name already, and the kernel
    /// would return that one.
    Planted,
    /// The key belongs to this group, not to root's: another program than the
    /// callout made it.
    NotFromCallout(u32),
    /// The key has another length than was asked for, or is no PKCS#8 of this
    /// length.
    OtherLength(usize),
    /// Nobody can read a key of this type.
    Unreadable,
    /// Something else the kernel said.
    System(io::Error),
}

impl Error {
    /// What can be done about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::KeyIdLength(_) | Self::KeyIdNul => "a key id has 1 to 255 bytes, none of them 0",
            Self::Length(_) => "ask for 1 to 1024 bytes",
            Self::Bits(_) => "ask for 2048, 3072 or 4096 bits",
            Self::Refused | Self::Failed => {
                "the callout's log says why, for root: journalctl -t key.tpm2_derived, or dmesg"
            }
            Self::Malformed => "the callout is another release than this program: see its log",
            Self::NoTpm => "run 'tdk root' as root: it says what is wrong with the TPM",
            Self::OtherTpm => "use the recovery key; 'tdk root' tells which TPM seed this is",
            Self::Later => "try again later",
            Self::NobodyAnswers => {
                "run 'tdk doctor': is the callout installed, has it a line in /etc/request-key.d, \
                 and has this kernel such keys?"
            }
            Self::Quota => "see /proc/key-users, and raise kernel.keys.maxkeys and maxbytes",
            Self::NoKeyrings => {
                "a system call filter forbids them (a container's, or a unit's \
                 SystemCallFilter=), or this kernel has none"
            }
            Self::Planted => "unlink it from the process keyring (@p)",
            Self::NotFromCallout(_) | Self::OtherLength(_) => {
                "look for another line for it in request-key's configuration"
            }
            Self::Unreadable => "ask for it by Session::ask, and have the kernel use it",
            Self::System(_) => "",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyIdLength(0) => write!(f, "the key id is empty"),
            Self::KeyIdLength(length) => write!(f, "the key id is {length} bytes long"),
            Self::KeyIdNul => write!(f, "the key id contains a byte 0"),
            Self::Length(length) => write!(f, "no key has {length} bytes"),
            Self::Bits(bits) => write!(f, "no RSA key has {bits} bits"),
            Self::Refused => write!(f, "the key is refused (EACCES)"),
            Self::Malformed => write!(f, "the request is not understood (EINVAL)"),
            Self::NoTpm => write!(f, "there is no usable TPM (ENODEV)"),
            Self::OtherTpm => write!(f, "this is not the TPM of the enrolment (EKEYREVOKED)"),
            Self::Later => write!(f, "the TPM is busy or does not answer (EAGAIN)"),
            Self::Failed => write!(f, "the key can't be made (EKEYREJECTED)"),
            Self::NobodyAnswers => write!(f, "nobody answers requests for this key (ENOKEY)"),
            Self::Quota => write!(f, "this user's quota of keys is full (EDQUOT)"),
            Self::NoKeyrings => write!(f, "this process may not use the kernel's keyrings"),
            Self::Planted => write!(
                f,
                "the process keyring has a key of this name, which the kernel would return"
            ),
            Self::NotFromCallout(gid) => write!(
                f,
                "the key was not made by the callout: it belongs to group {gid}, not to root's"
            ),
            Self::OtherLength(length) => write!(
                f,
                "the key was not made by the callout: it has {length} bytes"
            ),
            Self::Unreadable => write!(f, "nobody can read a key of this type"),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// What the system calls say on their way to a key.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EACCES) => Self::Refused,
            Some(libc::EINVAL) => Self::Malformed,
            Some(libc::ENODEV) => Self::NoTpm,
            Some(libc::EKEYREVOKED) => Self::OtherTpm,
            Some(libc::EAGAIN) => Self::Later,
            Some(libc::EKEYREJECTED) => Self::Failed,
            Some(libc::ENOKEY | libc::ENOENT) => Self::NobodyAnswers,
            Some(libc::EDQUOT) => Self::Quota,
            Some(libc::ENOSYS | libc::EPERM) => Self::NoKeyrings,
            _ => Self::System(error),
        }
    }
}

pub(crate) fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::System(io::Error::other(error))
}
