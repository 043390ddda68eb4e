// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a backend brings: one connection to a TPM, and single commands over it.
//!
//! Everything else (turns, time limits, repetitions, cleaning up) is
//! [`Session`](super::Session)'s, so that it is the same for all of them.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

use super::{
    Hierarchy, LoadedRoot, Name, OwnerAuth, PcrPolicy, ResponseCode, StorageAlgorithm, StorageKey,
};
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

/// The authorisation value of a sequence: random, and used once.
pub type SequencePassword = Zeroizing<[u8; 32]>;

/// A connection to a TPM that sends single commands and waits for the response,
/// until a point in time.
///
/// Objects are named by numbers of the connection's own choice.
pub trait Connection: Sized {
    /// Where it can lead.
    type Place: Place;

    /// Connects. In a session, `owner_auth` authorises the owner hierarchy's commands;
    /// it is never sent.
    ///
    /// # Errors
    ///
    /// What the system says; `TimedOut` when `until` has passed.
    fn open(
        place: &Self::Place,
        owner_auth: Option<&Arc<OwnerAuth>>,
        until: Instant,
    ) -> io::Result<Self>;

    /// Whether a command has not been answered which the TPM has to answer
    /// before anybody can open or close this place.
    fn is_stuck(&self) -> bool;

    /// TPM2_CreatePrimary with the template of a storage key and the empty
    /// password, or in the session of `start_session`.
    ///
    /// # Errors
    ///
    /// [`Failed`], also if something may have been loaded that can't be named.
    fn create_storage_key(
        &mut self,
        hierarchy: Hierarchy,
        algorithm: StorageAlgorithm,
        until: Instant,
    ) -> Result<Object, Failed>;

    /// TPM2_StartAuthSession of an HMAC session with AES-128-CFB, salted to that
    /// object, a storage key, if there is one. From then on it authorises and protects
    /// `create_primary`, `hmac` and what takes the latter's place. Gives the session.
    ///
    /// Where `owner_auth` is a policy, it is a policy session; then it authorises what
    /// the owner hierarchy is asked, after `policy_pcr`, and protects the rest beside
    /// the empty password.
    ///
    /// # Errors
    ///
    /// [`Failed`], also if something may have been started that can't be named.
    fn start_session(
        &mut self,
        salted_to: Option<(u32, &StorageKey)>,
        until: Instant,
    ) -> Result<u32, Failed>;

    /// TPM2_PolicyPCR in the session of `start_session`, with whatever values the PCRs
    /// have.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    fn policy_pcr(&mut self, policy: &PcrPolicy, until: Instant) -> Result<(), Failed>;

    /// TPM2_CreatePrimary with the root template and the empty password, or in
    /// the session of `start_session`.
    ///
    /// # Errors
    ///
    /// [`Failed`], also if something may have been loaded that can't be named.
    fn create_primary(&mut self, until: Instant) -> Result<Created, Failed>;

    /// TPM2_HMAC with SHA-256 and the empty password, or in the session of
    /// `start_session`, and then digest and answer are encrypted.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    fn hmac(
        &mut self,
        root: &LoadedRoot,
        digest: &IdentityDigest,
        until: Instant,
    ) -> Result<IdentityKey, Failed>;

    /// TPM2_HMAC_Start with SHA-256, in the session of `start_session`: the sequence.
    ///
    /// A sequence has no Name, so nothing in an answer or a command says which one it is
    /// about. What does is its password, which is encrypted on the way, and which
    /// `sequence_complete` shows to know.
    ///
    /// # Errors
    ///
    /// [`Failed`], also if something may have been loaded that can't be named.
    fn hmac_start(
        &mut self,
        root: &LoadedRoot,
        password: &SequencePassword,
        until: Instant,
    ) -> Result<u32, Failed>;

    /// TPM2_SequenceComplete in the session of `start_session`, digest and answer
    /// encrypted. It ends the sequence, if it succeeds.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    fn sequence_complete(
        &mut self,
        sequence: u32,
        password: &SequencePassword,
        digest: &IdentityDigest,
        until: Instant,
    ) -> Result<IdentityKey, Failed>;

    /// TPM2_Sign with the HMAC scheme and SHA-256, a null ticket and the empty
    /// password. What it answers can't be encrypted.
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

    /// TPM2_FlushContext of an object, or of a session, which then protects no
    /// more.
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

    /// TPM2_GetCapability: the handles of sessions that are loaded, at most 64.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    fn session_handles(&mut self, until: Instant) -> Result<Vec<u32>, Failed>;

    /// TPM2_ReadPublic of an object.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    fn read_public(&mut self, handle: u32, until: Instant) -> Result<Object, Failed>;
}

/// What TPM2_CreatePrimary made.
#[derive(Debug)]
pub struct Created {
    /// The object, which is loaded.
    pub object: u32,
    /// Its Name, or what shows that it is no root key.
    pub root: Result<Name, Unfit>,
}

/// Why what TPM2_CreatePrimary made is not used.
#[derive(Debug)]
pub enum Unfit {
    /// It is no root key.
    Other(String),
    /// As [`Failed::Forged`].
    Forged,
}

impl From<&str> for Unfit {
    fn from(what: &str) -> Self {
        Self::Other(what.into())
    }
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

/// An object that is in the TPM.
#[derive(Debug)]
pub struct Object {
    /// The object.
    pub object: u32,
    /// Its public area, a marshalled TPMT_PUBLIC; nothing if it is of a kind that
    /// is not known.
    pub public_area: Vec<u8>,
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
    /// Somebody answered who does not have the storage key, or the answer was
    /// changed on its way.
    Forged,
}
