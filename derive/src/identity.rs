// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who asks, as canonical bytes: sections 2 and 3 of `docs/derivation.md`.
//!
//! This module encodes what was found out about an asker. Finding it out, and
//! making sure of it, is the business of the program that observes the asker.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::policy::Decision;
use crate::request::{Quoted, Request};

const LABEL: &[u8] = b"tpm-derived-keys identity v1\0";

/// By what an asker is known: the `kind` of section 2 of `docs/derivation.md`, and the second word of
/// the callout info.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `path`: the path of its executable.
    Path = 1,
    /// `csum`: the SHA-256 of its executable.
    Csum = 2,
    /// `id`: nothing but the key id (and the uid).
    Id = 3,
    /// `cgroup`: its cgroup v2 path.
    Cgroup = 4,
    /// `verity`: the fs-verity digest of its executable.
    Verity = 5,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Path, Self::Csum, Self::Id, Self::Cgroup, Self::Verity];

    /// The word in the callout info.
    pub fn word(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Csum => "csum",
            Self::Id => "id",
            Self::Cgroup => "cgroup",
            Self::Verity => "verity",
        }
    }

    /// The kind that a callout word stands for.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.word().as_bytes() == word)
    }
}

/// Whether a key is bound to the asker's uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// `scope=any`, 0: to no uid.
    Any = 0,
    /// The default, 1: to the asker's filesystem uid.
    Uid = 1,
}

/// An asker, by the means it asked to be known by: `kind` and `value` of
/// section 2 of `docs/derivation.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A canonical absolute path, 1 to 4095 bytes, made by [`Subject::path`].
    Path(Vec<u8>),
    /// The SHA-256 of the executable's content.
    Csum([u8; 32]),
    /// Nobody in particular.
    Id,
    /// A cgroup v2 path, 2 to 4095 bytes, made by [`Subject::cgroup`].
    Cgroup(Vec<u8>),
    /// An fs-verity digest with the number of its algorithm as
    /// `FS_IOC_MEASURE_VERITY` gives it, made by [`Subject::verity`].
    Verity(u16, Vec<u8>),
}

impl Subject {
    const MOST: usize = 4095;

    /// An executable's path.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Path`] unless it is absolute and canonical (no component
    /// is empty, `.` or `..`), has at most 4095 bytes, none of them 0, and does
    /// not end in ` (deleted)`.
    pub fn path(path: &[u8]) -> Result<Self, IdentityError> {
        Self::check_path(path)
            .then(|| Self::Path(path.to_vec()))
            .ok_or_else(|| IdentityError::Path(Quoted::new(path)))
    }

    /// A cgroup v2 path.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Cgroup`] for what [`Subject::path`] would not take as a
    /// path either; `/` alone is such.
    pub fn cgroup(path: &[u8]) -> Result<Self, IdentityError> {
        Self::check_path(path)
            .then(|| Self::Cgroup(path.to_vec()))
            .ok_or_else(|| IdentityError::Cgroup(Quoted::new(path)))
    }

    /// An fs-verity digest.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Verity`] unless it is algorithm 1 (SHA-256) with 32
    /// bytes or 2 (SHA-512) with 64.
    pub fn verity(algorithm: u16, digest: &[u8]) -> Result<Self, IdentityError> {
        matches!((algorithm, digest.len()), (1, 32) | (2, 64))
            .then(|| Self::Verity(algorithm, digest.to_vec()))
            .ok_or(IdentityError::Verity(algorithm, digest.len()))
    }

    fn check_path(path: &[u8]) -> bool {
        let canonical = |path: &[u8]| {
            path.split(|&byte| byte == b'/')
                .all(|part| !matches!(part, b"" | b"." | b".."))
        };
        path.strip_prefix(b"/").is_some_and(canonical)
            && path.len() <= Self::MOST
            && !path.contains(&0)
            && !path.ends_with(b" (deleted)")
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Path(_) => Kind::Path,
            Self::Csum(_) => Kind::Csum,
            Self::Id => Kind::Id,
            Self::Cgroup(_) => Kind::Cgroup,
            Self::Verity(..) => Kind::Verity,
        }
    }

    fn value(&self) -> Vec<u8> {
        match self {
            Self::Path(path) | Self::Cgroup(path) => path.clone(),
            Self::Csum(digest) => digest.to_vec(),
            Self::Id => Vec::new(),
            Self::Verity(algorithm, digest) => [&algorithm.to_be_bytes(), &digest[..]].concat(),
        }
    }
}

/// Separates tenants or images on one TPM: 0 to 64 bytes that the machine's
/// administrator sets, never the asker. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Realm(Vec<u8>);

impl Realm {
    /// The longest realm, in bytes.
    pub const MOST: usize = 64;

    /// Checks the length.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Realm`] for more than 64 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, IdentityError> {
        if bytes.len() > Self::MOST {
            return Err(IdentityError::Realm(bytes.len()));
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A subject, with what else an identity key is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    subject: Subject,
    scope: Scope,
    uid: u32,
    realm: Realm,
}

impl Identity {
    /// Joins the parts. With [`Scope::Any`] the uid does not enter the key.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Uid`] for uid 4294967295, which is no user's.
    pub fn new(
        subject: Subject,
        scope: Scope,
        uid: u32,
        realm: Realm,
    ) -> Result<Self, IdentityError> {
        if uid == u32::MAX {
            return Err(IdentityError::Uid);
        }
        Ok(Self {
            subject,
            scope,
            uid,
            realm,
        })
    }

    /// Who.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Whether the uid enters the key.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The user, whether or not it enters the key.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The identity bytes of section 2:
    ///
    /// ```text
    /// `tpm-derived-keys identity v1` || 00 || kind (u8) || scope (u8) || uid (u32)
    ///     || len(realm) (u8) || realm || len(value) (u16) || value
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let uid = match self.scope {
            Scope::Any => 0,
            Scope::Uid => self.uid,
        };
        let value = self.subject.value();
        let mut bytes = LABEL.to_vec();
        bytes.push(self.subject.kind() as u8);
        bytes.push(self.scope as u8);
        bytes.extend(uid.to_be_bytes());
        bytes.extend(u8::to_be_bytes(length(&self.realm.0)));
        bytes.extend(&self.realm.0);
        bytes.extend(u16::to_be_bytes(length(&value)));
        bytes.extend(&value);
        bytes
    }

    /// SHA-256 of [`Identity::to_bytes`]: all that the TPM gets to see of an
    /// asker.
    pub fn digest(&self) -> IdentityDigest {
        IdentityDigest(Sha256::digest(self.to_bytes()).into())
    }
}

/// The length of something whose constructor has checked that it fits.
pub(crate) fn length<N: TryFrom<usize, Error: fmt::Debug>>(bytes: &[u8]) -> N {
    N::try_from(bytes.len()).expect("checked when it was made")
}

/// What the root key computes its keyed hash over: 32 bytes, nothing else ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityDigest([u8; 32]);

impl IdentityDigest {
    /// A digest that is no identity's, whose bytes begin otherwise: for trying a
    /// TPM.
    pub(crate) fn of_nobody() -> Self {
        Self(Sha256::digest(b"tpm-derived-keys probe v1").into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A request and who made it. The next stage is a
/// [`Policy`](crate::policy::Policy)'s decision.
#[derive(Clone, Debug)]
pub struct Identified {
    pub(crate) request: Request,
    pub(crate) identity: Identity,
}

impl Identified {
    pub(crate) fn new(request: Request, identity: Identity) -> Self {
        Self { request, identity }
    }

    /// Next stage without a policy: what the machine's own operator asks for.
    ///
    /// Whoever may use the TPM can make any key it makes, so this gives nothing
    /// away; it is for recovery and debugging, not for serving others.
    pub fn decided_by_operator(self) -> Decision {
        Decision::allowed(self)
    }
}

/// Why there is no such identity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not the path of an executable that exists.
    Path(Quoted),
    /// Not the path of a cgroup that keeps anyone apart.
    Cgroup(Quoted),
    /// An fs-verity digest of that algorithm and that many bytes.
    Verity(u16, usize),
    /// A realm of that many bytes.
    Realm(usize),
    /// Uid 4294967295.
    Uid,
    /// The subject is of another kind than the request.
    WrongKind {
        /// What the request named.
        asked: Kind,
        /// What it was given.
        found: Kind,
    },
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(
                f,
                "{path} can't be an executable's identity: it takes an absolute, canonical path of \
                 at most 4095 bytes that does not end in ' (deleted)'"
            ),
            Self::Cgroup(path) => write!(
                f,
                "{path} can't be a cgroup's identity: it takes an absolute path below / of at most \
                 4095 bytes that does not end in ' (deleted)'"
            ),
            Self::Verity(algorithm, length) => write!(
                f,
                "an fs-verity digest of algorithm {algorithm} and {length} bytes: known are 1 \
                 (SHA-256, 32 bytes) and 2 (SHA-512, 64 bytes)"
            ),
            Self::Realm(length) => write!(f, "a realm has at most 64 bytes, not {length}"),
            Self::Uid => write!(f, "uid 4294967295 is nobody's"),
            Self::WrongKind { asked, found } => write!(
                f,
                "the request asks for identity '{}', not '{}'",
                asked.word(),
                found.word()
            ),
        }
    }
}

impl std::error::Error for IdentityError {}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
