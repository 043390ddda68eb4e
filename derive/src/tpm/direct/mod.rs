// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TPM commands over a file descriptor: the kernel's devices and software TPMs,
//! without any shared library.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tpm2_protocol::TpmResult;
use tpm2_protocol::frame::TpmFrame;
use zeroize::{Zeroize, Zeroizing};

use super::connection::{Connection, Created, Failed, Object, SequencePassword, Unfit};
use super::{
    Hierarchy, LoadedRoot, OwnerAuth, PcrPolicy, ResponseCode, Session, StorageAlgorithm,
    StorageKey, Tcti,
};
use crate::derivation::IdentityKey;
use crate::identity::IdentityDigest;

mod commands;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod link;
mod properties;
mod protected;

use commands::{Authorized, Marshalled, Wrong};
use link::{Link, MOST};
pub use properties::Properties;
use protected::{DECRYPT, ENCRYPT, Fault, Kind, Protected, Salt, nonce};

/// The backend that needs no library: devices and software TPMs.
pub type Direct = Session<Wire>;

/// Before everything else in a response.
const HEADER: usize = 10;

/// A connection of [`Direct`].
pub struct Wire {
    link: Link,
    response: Box<Zeroizing<[u8; MOST]>>,
    protected: Option<Protected>,
    owner_auth: Option<Arc<OwnerAuth>>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({:?})", self.link)
    }
}

impl Wire {
    /// Sends a command once, as it is.
    fn exchange(&mut self, bytes: TpmResult<Marshalled>, until: Instant) -> Result<usize, Failed> {
        let bytes = bytes.map_err(|error| Failed::Malformed(format!("can't send: {error:?}")))?;
        let length = self
            .link
            .exchange(bytes.as_bytes(), &mut self.response, until)
            .map_err(Failed::Connection)?;
        match ResponseCode::new(commands::code(&self.response)) {
            None => Ok(length),
            Some(code) => Err(Failed::Response(code)),
        }
    }

    /// Sends a command once, and takes something out of the response.
    fn ask<T>(
        &mut self,
        bytes: TpmResult<Marshalled>,
        until: Instant,
        take: impl FnOnce(&[u8]) -> Result<T, Wrong>,
    ) -> Result<T, Failed> {
        let length = self.exchange(bytes, until)?;
        take(&self.response[..length]).map_err(Failed::Malformed)
    }

    /// As `ask`, in the session if there is one. An answer that has a handle is
    /// taken even if it is forged, so that whatever was loaded is flushed.
    fn ask_authorized<C: TpmFrame, T>(
        &mut self,
        command: TpmResult<Authorized<C>>,
        attributes: u8,
        handles: usize,
        until: Instant,
        take: impl FnOnce(&[u8]) -> Result<T, Wrong>,
    ) -> Result<T, Failed> {
        let command =
            command.map_err(|error| Failed::Malformed(format!("can't send: {error:?}")))?;
        let Some(session) = &mut self.protected else {
            return self.ask(command.by_password(), until, take);
        };
        let owner_auth = self
            .owner_auth
            .as_ref()
            .map_or(&[][..], |auth| auth.value());
        let bytes = command.by(session, owner_auth, attributes);
        let length = self.exchange(bytes, until)?;
        let session = self.protected.as_mut().expect("as before");
        let body = self.response.get_mut(HEADER + 4 * handles..length);
        match session.check(command.code(), body.unwrap_or_default()) {
            Ok(()) => take(&self.response[..length]).map_err(Failed::Malformed),
            Err(Fault::Malformed) => {
                let what = "it is not in the session that the command was in";
                Err(Failed::Malformed(what.into()))
            }
            Err(Fault::Forged) => Err(Failed::Forged),
        }
    }

    /// Passes on a secret that was in the response.
    fn secret(
        &mut self,
        secret: Result<Zeroizing<[u8; 32]>, Failed>,
    ) -> Result<IdentityKey, Failed> {
        self.response.zeroize();
        secret.map(IdentityKey::new)
    }
}

impl Connection for Wire {
    type Place = Tcti;

    fn open(place: &Tcti, owner_auth: Option<&Arc<OwnerAuth>>, until: Instant) -> io::Result<Self> {
        Ok(Self {
            link: Link::open(place, until)?,
            response: Box::new(Zeroizing::new([0; MOST])),
            protected: None,
            owner_auth: owner_auth.cloned(),
        })
    }

    fn is_stuck(&self) -> bool {
        self.link.is_stuck()
    }

    fn create_storage_key(
        &mut self,
        hierarchy: Hierarchy,
        algorithm: StorageAlgorithm,
        until: Instant,
    ) -> Result<Object, Failed> {
        let command = commands::create_storage_key(hierarchy, algorithm);
        match self.ask_authorized(command, 0, 1, until, commands::object) {
            // Something has been loaded, and has to go.
            Err(Failed::Forged) => Ok(Object {
                object: commands::handle(&**self.response).map_err(Failed::Malformed)?,
                public_area: Vec::new(),
            }),
            other => other,
        }
    }

    fn start_session(
        &mut self,
        salted_to: Option<(u32, &StorageKey)>,
        until: Instant,
    ) -> Result<u32, Failed> {
        let unfit = || Failed::Malformed("nothing can be encrypted to its key".into());
        let salt = salted_to
            .map(|(_, key)| Salt::for_key(key).ok_or_else(unfit))
            .transpose()?;
        let nonce_caller = nonce();
        let encrypted = salt.as_ref().map_or(&[][..], |salt| &salt.encrypted);
        let object = salted_to.map(|(object, _)| object);
        let kind = match &self.owner_auth {
            Some(auth) if auth.policy().is_some() => Kind::Policy,
            _ => Kind::Hmac,
        };
        let command = commands::start_auth_session(kind, object, &nonce_caller, encrypted);
        let (session, nonce_tpm) = self.ask(command, until, commands::started)?;
        let salt = salt.as_ref();
        let protected = Protected::new(session, kind, salt, &nonce_tpm, nonce_caller);
        self.protected = Some(protected);
        Ok(session)
    }

    fn policy_pcr(&mut self, policy: &PcrPolicy, until: Instant) -> Result<(), Failed> {
        let session = self.protected.as_ref().map_or(0, Protected::handle);
        self.ask(commands::policy_pcr(session, policy), until, |_| Ok(()))
    }

    fn create_primary(&mut self, until: Instant) -> Result<Created, Failed> {
        let command = commands::create_primary();
        match self.ask_authorized(command, 0, 1, until, commands::created) {
            // Something has been loaded, and has to go.
            Err(Failed::Forged) => Ok(Created {
                object: commands::handle(&**self.response).map_err(Failed::Malformed)?,
                root: Err(Unfit::Forged),
            }),
            other => other,
        }
    }

    fn hmac(
        &mut self,
        root: &LoadedRoot,
        digest: &IdentityDigest,
        until: Instant,
    ) -> Result<IdentityKey, Failed> {
        let (command, attributes) = (commands::hmac(root, digest), DECRYPT | ENCRYPT);
        let secret = self.ask_authorized(command, attributes, 0, until, commands::out_hmac);
        self.secret(secret)
    }

    fn hmac_start(
        &mut self,
        root: &LoadedRoot,
        password: &SequencePassword,
        until: Instant,
    ) -> Result<u32, Failed> {
        let command = commands::hmac_start(root, password);
        self.ask_authorized(command, DECRYPT, 1, until, commands::handle)
    }

    fn sequence_complete(
        &mut self,
        sequence: u32,
        password: &SequencePassword,
        digest: &IdentityDigest,
        until: Instant,
    ) -> Result<IdentityKey, Failed> {
        let command = commands::sequence_complete(sequence, password, digest);
        let (attributes, take) = (DECRYPT | ENCRYPT, commands::sequence_result);
        let secret = self.ask_authorized(command, attributes, 0, until, take);
        self.secret(secret)
    }

    fn sign(
        &mut self,
        object: u32,
        digest: &IdentityDigest,
        until: Instant,
    ) -> Result<IdentityKey, Failed> {
        let command = commands::sign(object, digest);
        let secret = self.ask(command, until, commands::hmac_signature);
        self.secret(secret)
    }

    fn flush_context(&mut self, object: u32, until: Instant) -> Result<(), Failed> {
        self.ask(commands::flush_context(object), until, |_| Ok(()))?;
        self.protected.take_if(|session| session.handle() == object);
        Ok(())
    }

    fn transient_handles(&mut self, until: Instant) -> Result<Vec<u32>, Failed> {
        self.ask(commands::transient_handles(), until, commands::handles)
    }

    fn session_handles(&mut self, until: Instant) -> Result<Vec<u32>, Failed> {
        self.ask(commands::session_handles(), until, commands::handles)
    }

    fn read_public(&mut self, handle: u32, until: Instant) -> Result<Object, Failed> {
        let public_area = self.ask(commands::read_public(handle), until, commands::public_area)?;
        Ok(Object {
            object: handle,
            public_area,
        })
    }
}
