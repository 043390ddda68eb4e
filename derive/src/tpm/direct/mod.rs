// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TPM commands over a file descriptor: the kernel's devices and software TPMs,
//! without any shared library.

use std::io;
use std::time::Instant;

use tpm2_protocol::TpmResult;
use zeroize::{Zeroize, Zeroizing};

use super::connection::{Connection, Created, Failed, Found};
use super::{ResponseCode, Session, Tcti};
use crate::derivation::IdentityKey;
use crate::identity::IdentityDigest;

mod commands;
mod link;
mod properties;

use commands::{Marshalled, Wrong};
use link::{Link, MOST};
pub use properties::Properties;

/// The backend that needs no library: devices and software TPMs.
pub type Direct = Session<Wire>;

/// A connection of [`Direct`].
#[derive(Debug)]
pub struct Wire {
    link: Link,
    response: Box<Zeroizing<[u8; MOST]>>,
}

impl Wire {
    /// Sends a command once, and takes something out of the response.
    fn ask<T>(
        &mut self,
        bytes: TpmResult<Marshalled>,
        until: Instant,
        take: impl FnOnce(&[u8]) -> Result<T, Wrong>,
    ) -> Result<T, Failed> {
        let bytes = bytes.map_err(|error| Failed::Malformed(format!("can't send: {error:?}")))?;
        let length = self
            .link
            .exchange(bytes.as_bytes(), &mut self.response, until)
            .map_err(Failed::Connection)?;
        match ResponseCode::new(commands::code(&self.response)) {
            None => take(&self.response[..length]).map_err(Failed::Malformed),
            Some(code) => Err(Failed::Response(code)),
        }
    }

    /// As `ask`, for a response with a secret in it.
    fn ask_secret(
        &mut self,
        bytes: TpmResult<Marshalled>,
        until: Instant,
        take: impl FnOnce(&[u8]) -> Result<Zeroizing<[u8; 32]>, Wrong>,
    ) -> Result<IdentityKey, Failed> {
        let secret = self.ask(bytes, until, take);
        self.response.zeroize();
        secret.map(IdentityKey::new)
    }
}

impl Connection for Wire {
    type Place = Tcti;

    fn open(place: &Tcti, until: Instant) -> io::Result<Self> {
        Ok(Self {
            link: Link::open(place, until)?,
            response: Box::new(Zeroizing::new([0; MOST])),
        })
    }

    fn is_stuck(&self) -> bool {
        self.link.is_stuck()
    }

    fn create_primary(&mut self, until: Instant) -> Result<Created, Failed> {
        self.ask(commands::create_primary(), until, commands::created)
    }

    fn hmac(
        &mut self,
        object: u32,
        digest: &IdentityDigest,
        until: Instant,
    ) -> Result<IdentityKey, Failed> {
        self.ask_secret(commands::hmac(object, digest), until, commands::out_hmac)
    }

    fn sign(
        &mut self,
        object: u32,
        digest: &IdentityDigest,
        until: Instant,
    ) -> Result<IdentityKey, Failed> {
        self.ask_secret(
            commands::sign(object, digest),
            until,
            commands::hmac_signature,
        )
    }

    fn flush_context(&mut self, object: u32, until: Instant) -> Result<(), Failed> {
        self.ask(commands::flush_context(object), until, |_| Ok(()))
    }

    fn transient_handles(&mut self, until: Instant) -> Result<Vec<u32>, Failed> {
        self.ask(commands::transient_handles(), until, commands::handles)
    }

    fn read_public(&mut self, handle: u32, until: Instant) -> Result<Option<Found>, Failed> {
        let name = self.ask(
            commands::read_public(handle),
            until,
            commands::possible_root,
        )?;
        Ok(name.map(|name| Found {
            object: handle,
            name,
        }))
    }
}
