// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's side of a request: the key under construction, U, and the
//! authority to complete it. The only module that changes keys.

use std::io;

use linux_keyutils::{Key, KeyError, KeyPermissions, KeySerialId};
use tpm_derived_keys::Payload;
use tpm_derived_keys::policy::Grant;

use crate::failure::{Errno, Failure};

/// The keyring that `keyctl(2)` takes as "none": the kernel has linked U where
/// the asker wanted it.
const NO_KEYRING: KeySerialId = KeySerialId(0);

/// A key under construction, with the authority to complete it assumed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnderConstruction {
    serial: i32,
}

impl UnderConstruction {
    /// Which key the kernel started this program for: it names the session
    /// keyring `_req.<serial>`.
    pub(crate) fn of_this_session() -> Option<i32> {
        let description = tdk_sys::describe(tdk_sys::SESSION_KEYRING).ok()?;
        let name = description.rsplit(|&byte| byte == b';').next()?;
        let serial = std::str::from_utf8(name.strip_prefix(b"_req.")?).ok()?;
        serial.parse().ok()
    }

    /// The keys in this program's session keyring, where the kernel has put the
    /// authorisation key.
    pub(crate) fn keys_of_this_session() -> Vec<i32> {
        tdk_sys::keys_in(tdk_sys::SESSION_KEYRING).unwrap_or_default()
    }

    /// Assumes the authority to complete a key.
    ///
    /// The authority is the calling thread's, and that of threads it starts
    /// afterwards.
    pub(crate) fn assume(serial: i32) -> Result<Self, Failure> {
        Key::from_id(KeySerialId(serial))
            .assume_authority()
            .map_err(|error| {
                Failure::new(
                    Errno::Failed,
                    format!("no authority to complete key {serial} ({error})"),
                    "this program is for /sbin/request-key to run",
                )
            })?;
        tdk_sys::reject_on_fault(serial);
        Ok(Self { serial })
    }

    /// U's serial number.
    pub(crate) fn serial(self) -> i32 {
        self.serial
    }

    /// Gives U to group root, so that its asker can see that it was made here: only
    /// root and members of that group can give keys to it. U's owner stays the
    /// asker, whose quota it is charged to.
    ///
    /// The kernel allows it where U is in a keyring that the asker searches: our
    /// authority lets us search there, too, and so possess it.
    ///
    /// The error says why it keeps the asker's group, which is not worth refusing it.
    pub(crate) fn give_to_group_root(self) -> Result<(), String> {
        Key::from_id(KeySerialId(self.serial))
            .chown(None, Some(0))
            .map_err(|error| format!("the kernel refuses it ({error})"))
    }

    /// Gives U the permissions and the timeout that the policy gives it.
    ///
    /// The permissions last: they may leave us none. As with its group, the kernel
    /// lets us change them where U is in a keyring that the asker searches; what
    /// can't be given as the policy says is not given.
    pub(crate) fn limit(self, grant: &Grant) -> Result<(), Failure> {
        let key = Key::from_id(KeySerialId(self.serial));
        let refused = |what: &str, error: KeyError, hint: &'static str| {
            let message =
                format!("the kernel does not let the key have the policy's {what} ({error})");
            Failure::new(Errno::Refused, message, hint)
        };
        if let Some(seconds) = grant.timeout_seconds {
            // As wide as any number of the kernel's.
            let seconds = usize::try_from(seconds).unwrap_or(usize::MAX);
            key.set_timeout(seconds)
                .map_err(|error| refused("timeout_seconds", error, ""))?;
        }
        if let Some(permissions) = grant.permissions {
            let hint = "ask into a keyring that the asker searches";
            key.set_perms(KeyPermissions::from_u32(permissions))
                .map_err(|error| refused("permissions", error, hint))?;
        }
        Ok(())
    }

    /// Completes U with a payload.
    pub(crate) fn instantiate(self, payload: &Payload) -> Result<(), Failure> {
        Key::from_id(KeySerialId(self.serial))
            .instantiate(payload.as_bytes(), NO_KEYRING)
            .map_err(not_taken)?;
        tdk_sys::reject_on_fault(0);
        Ok(())
    }

    /// Completes U with an errno that its askers get for a while.
    pub(crate) fn reject(self, errno: Errno) -> io::Result<()> {
        tdk_sys::reject(self.serial, errno.lifetime(), errno.value())
    }
}

/// Why the kernel did not take a key, and what to do.
fn not_taken(error: KeyError) -> Failure {
    let (errno, why, hint) = match error {
        KeyError::QuotaExceeded => (
            Errno::Quota,
            "the asker's quota of keys has no room for it".into(),
            "see /proc/key-users, and raise kernel.keys.maxbytes (for root: root_maxbytes)",
        ),
        // What key type asymmetric says when no parser knows what it is.
        KeyError::Unknown(libc::EBADMSG) => (
            Errno::Failed,
            "it has no parser for private keys (EBADMSG)".into(),
            "load it: modprobe pkcs8_key_parser",
        ),
        KeyError::Unknown(libc::ENOPKG) => (
            Errno::Failed,
            "it lacks the algorithm (ENOPKG)".into(),
            "load pkcs8_key_parser and rsa, or use a kernel with CONFIG_CRYPTO_RSA",
        ),
        other => (Errno::Failed, other.to_string(), ""),
    };
    let message = format!("the kernel did not take the key: {why}");
    Failure::new(errno, message, hint)
}
