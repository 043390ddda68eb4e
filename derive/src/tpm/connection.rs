// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a backend brings: one connection to a TPM, and single commands over it.
//!
//! Everything else (turns, time limits, repetitions, cleaning up) is
//! [`Session`](super::Session)'s, so that it is the same for all of them.

use std::fmt;
use std::io;
use std::time::Instant;

use super::{Name, ResponseCode};
use crate::derivation::IdentityKey;
use crate::identity::IdentityDigest;

/// Where a TPM is, as far as a [`Session`](super::Session) needs to know. It is
/// displayed as the string it came from.
pub trait Place: Clone + fmt::Display {
    /// The same for all ways to one TPM: what its lock is named after. Begins
    /// with a word of letters and a colon.
    fn chip(&self) -> String;

    /// Whether objects outlive the connection that loaded them, which a
    /// resource manager would flush.
    fn keeps_objects(&self) -> bool;

    /// What to do when nothing answers there.
    fn hint(&self) -> &'static str;
}

/// A connection to a TPM that sends single commands and waits for the response,
/// until a point in time.
///
/// Objects are named by numbers of the connection's own choice.
pub trait Connection: Sized {
    /// Where it can lead.
    type Place: Place;

    /// Connects.
    ///
    /// # Errors
    ///
    /// What the system says; `TimedOut` when `until` has passed.
    fn open(place: &Self::Place, until: Instant) -> io::Result<Self>;

    /// Whether a command has not been answered which the TPM has to answer
    /// before anybody can open or close this place.
    fn is_stuck(&self) -> bool;

    /// TPM2_CreatePrimary with the root template and the empty password.
    ///
    /// # Errors
    ///
    /// [`Failed`], also if something may have been loaded that can't be named.
    fn create_primary(&mut self, until: Instant) -> Result<Created, Failed>;

    /// TPM2_HMAC with SHA-256 and the empty password.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    fn hmac(
        &mut self,
        object: u32,
        digest: &IdentityDigest,
        until: Instant,
    ) -> Result<IdentityKey, Failed>;

    /// TPM2_Sign with the HMAC scheme and SHA-256, a null ticket and the empty
    /// password.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    fn sign(
        &mut self,
        object: u32,
        digest: &IdentityDigest,
        until: Instant,
    ) -> Result<IdentityKey, Failed>;

    /// TPM2_FlushContext.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    fn flush_context(&mut self, object: u32, until: Instant) -> Result<(), Failed>;

    /// TPM2_GetCapability: the handles of transient objects, at most 64.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    fn transient_handles(&mut self, until: Instant) -> Result<Vec<u32>, Failed>;

    /// TPM2_ReadPublic of one of those handles: the object, if it could be a
    /// root key.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    fn read_public(&mut self, handle: u32, until: Instant) -> Result<Option<Found>, Failed>;
}

/// What TPM2_CreatePrimary made.
#[derive(Debug)]
pub struct Created {
    /// The object, which is loaded.
    pub object: u32,
    /// Its Name, or what shows that it is no root key.
    pub root: Result<Name, String>,
}

impl Created {
    /// Judges what the TPM says that it made: its public area, a marshalled
    /// TPMT_PUBLIC, and its Name.
    pub fn new(object: u32, public_area: &[u8], name: &[u8]) -> Self {
        let root = match Name::of_root(public_area) {
            None => Err("the TPM made another object than it was asked for".into()),
            Some(own) if own.as_bytes() != name => {
                Err("the Name does not fit the public area".into())
            }
            Some(own) => Ok(own),
        };
        Self { object, root }
    }
}

/// An object that could be a root key.
#[derive(Debug)]
pub struct Found {
    /// The object.
    pub object: u32,
    /// Its Name.
    pub name: Name,
}

/// Why a command has no result.
#[derive(Debug)]
pub enum Failed {
    /// Nothing more can be sent over the connection. `TimedOut` if there was no
    /// answer in time, `UnexpectedEof` if the other side closed it,
    /// `InvalidData` if what came is no response, which the text then tells.
    Connection(io::Error),
    /// The TPM answered, with an error.
    Response(ResponseCode),
    /// The TPM answered, but not what was asked.
    Malformed(String),
}
