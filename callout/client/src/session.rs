// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where keys are asked for: a session keyring that nobody has put anything into.

use std::ffi::CStr;
use std::marker::PhantomData;

use linux_keyutils::{Key as KernelKey, KeyRing, KeyRingIdentifier, KeySerialId};
use tdk_sys::{NO_KEYRING, SESSION_KEYRING};

use crate::error::{Error, other};
use crate::request::Request;

/// A new session keyring of the calling thread's, for keys that are used where they
/// are: by the kernel, for whoever knows their serial numbers.
///
/// Threads and processes that this thread starts afterwards have the same keyring,
/// and may use the keys. When the last of them has ended, by whatever, the keys are
/// gone.
///
/// ```no_run
/// use tdk_client::{Identity, KeyType, Request, Session, What};
///
/// let request = Request::new("ssh", What::Rsa(3072), Identity::Path);
/// let session = Session::join()?;
/// let serial = session.ask(&request.key_type(KeyType::Asymmetric))?;
/// // keyctl(KEYCTL_PKEY_SIGN, ...)
/// # Ok::<(), tdk_client::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    /// It is this thread's.
    _thread: PhantomData<*const ()>,
}

impl Session {
    /// Joins one. The calling thread leaves the session keyring that it had, and
    /// can't go back; and it lays down authority over requests of others.
    ///
    /// # Errors
    ///
    /// An [`Error`] that says why there is none.
    pub fn join() -> Result<Self, Error> {
        tdk_sys::join_new_session()?;
        // Authority over nothing: 0 lays down what may have been assumed.
        KernelKey::from_id(KeySerialId(0))
            .assume_authority()
            .map_err(other)?;
        Ok(Self {
            _thread: PhantomData,
        })
    }

    /// Asks the kernel, as [`Request::ask`] does, for a key that stays in this
    /// keyring: its serial number. A key of the same type and key id must not be
    /// there yet.
    ///
    /// # Errors
    ///
    /// An [`Error`] that says why there is no key, with a [hint](Error::hint).
    pub fn ask(&self, request: &Request) -> Result<i32, Error> {
        let description = request.description()?;
        let callout_info = request.callout_info()?;
        ask(request.key_type_name(), &description, &callout_info)
    }
}

/// Asks, from a thread that has joined a [`Session`].
pub(crate) fn ask(key_type: &CStr, description: &CStr, callout_info: &CStr) -> Result<i32, Error> {
    // Without callout info: what is there already.
    if tdk_sys::request_key(key_type, description, None, NO_KEYRING).is_ok() {
        return Err(Error::Planted);
    }
    let callout_info = Some(callout_info);
    let serial = tdk_sys::request_key(key_type, description, callout_info, SESSION_KEYRING)?;
    check_group(&tdk_sys::describe(serial)?).inspect_err(|_| unlink(serial))?;
    Ok(serial)
}

/// Drops a key of the session keyring's. (The keyring's end, and the key's with it,
/// take a moment.)
pub(crate) fn unlink(serial: i32) {
    if let Ok(session) = KeyRing::from_special_id(KeyRingIdentifier::Session, false) {
        let _ = session.unlink_key(KernelKey::from_id(KeySerialId(serial)));
    }
}

/// `type;uid;gid;permissions;description` of a key that the callout can have made.
fn check_group(described: &[u8]) -> Result<(), Error> {
    let gid = described.split(|&byte| byte == b';').nth(2);
    let gid = gid.and_then(|gid| std::str::from_utf8(gid).ok()?.parse().ok());
    match gid {
        Some(0) => Ok(()),
        Some(gid) => Err(Error::NotFromCallout(gid)),
        None => Err(other(
            "the kernel does not say which group the key belongs to",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups() {
        check_group(b"user;1000;0;3f010000;tpm2:derived:a;1000;b").unwrap();
        let error = check_group(b"user;0;1000;3f010000;x;0;y").unwrap_err();
        assert!(matches!(error, Error::NotFromCallout(1000)));
        for unclear in [
            &b""[..],
            b"user",
            b"user;0",
            b"user;0;root;0;x",
            b"user;;;;",
        ] {
            check_group(unclear).unwrap_err();
        }
    }
}
