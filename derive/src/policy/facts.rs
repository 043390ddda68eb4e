// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What rules can ask about a request and its asker.

use std::fmt;

use super::doubt::Doubts;
use crate::identity::{Identified, Subject};
use crate::request::PREFIX;

/// Something that a rule can look at. Those of the request come first, then those
/// of its asker, from what costs nothing to find out to what costs most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// What follows `tpm2:derived:` in the description.
    KeyId,
    /// The key type.
    KeyType,
    /// What the key is to be, as the callout info says it.
    What,
    /// By what the asker is known: the word in the callout info.
    Identity,
    /// The filesystem uid that it asks as.
    Uid,
    /// The names that `/etc/passwd` has for it.
    User,
    /// The filesystem gid, and all supplementary ones.
    Gid,
    /// The names that `/etc/group` has for them.
    Group,
    /// The path of its executable, in the initial mount namespace.
    Exe,
    /// The systemd unit that its cgroup is.
    Unit,
    /// What the security module calls it.
    Label,
    /// The package that its executable is of.
    Package,
    /// The SHA-256 of its executable, in hex.
    Sha256,
}

impl Field {
    /// All of them, in the order in which they are looked at.
    pub const ALL: [Self; 13] = [
        Self::KeyId,
        Self::KeyType,
        Self::What,
        Self::Identity,
        Self::Uid,
        Self::User,
        Self::Gid,
        Self::Group,
        Self::Exe,
        Self::Unit,
        Self::Label,
        Self::Package,
        Self::Sha256,
    ];

    /// What rules call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyId => "key_id",
            Self::KeyType => "key_type",
            Self::What => "what",
            Self::Identity => "identity",
            Self::Uid => "uid",
            Self::User => "user",
            Self::Gid => "gid",
            Self::Group => "group",
            Self::Exe => "exe",
            Self::Unit => "unit",
            Self::Label => "label",
            Self::Package => "package",
            Self::Sha256 => "sha256",
        }
    }

    /// Whether neither `*` nor `?` stand for a `/` in its patterns.
    pub(super) fn is_path(self) -> bool {
        matches!(self, Self::Exe | Self::Unit)
    }

    /// The one that rules call so.
    #[inline]
    pub(super) fn of_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"key_id" => Self::KeyId,
            b"key_type" => Self::KeyType,
            b"what" => Self::What,
            b"identity" => Self::Identity,
            b"uid" => Self::Uid,
            b"user" => Self::User,
            b"gid" => Self::Gid,
            b"group" => Self::Group,
            b"exe" => Self::Exe,
            b"unit" => Self::Unit,
            b"label" => Self::Label,
            b"package" => Self::Package,
            b"sha256" => Self::Sha256,
            _ => return None,
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was found out about a [`Field`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What is known: none, one or, as with groups, several.
    pub values: Vec<Vec<u8>>,
    /// Why there may be more than that.
    pub unknown: Option<String>,
}

impl Found {
    /// This, and nothing else.
    pub fn known(value: impl Into<Vec<u8>>) -> Self {
        Self::all(vec![value.into()])
    }

    /// These, and no others.
    pub fn all(values: Vec<Vec<u8>>) -> Self {
        Self {
            values,
            unknown: None,
        }
    }

    /// Nothing could be found out, for this reason.
    pub fn unknown(why: impl fmt::Display) -> Self {
        Self {
            values: Vec::new(),
            unknown: Some(why.to_string()),
        }
    }
}

/// Whoever can find out about the asker what no request says.
pub trait Source {
    /// Finds it out. Called once for a field, and only if the decision hangs on it.
    fn find(&mut self, field: Field) -> Found;

    /// Why the asker may not be who it seems to be.
    fn doubts(&self) -> Doubts;
}

/// A source that knows nothing: what a policy says to a request alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Source for Nothing {
    fn find(&mut self, _: Field) -> Found {
        Found::unknown("nobody looked")
    }

    fn doubts(&self) -> Doubts {
        Doubts::default()
    }
}

/// What has been found out so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    found: [Option<Found>; Field::ALL.len()],
    doubts: Doubts,
}

impl Facts {
    /// What a request says, and what it took to identify its asker.
    pub fn of(identified: &Identified) -> Self {
        let mut facts = Self::default();
        let request = &identified.request;
        let identity = &identified.identity;
        let mut put = |field, value: &[u8]| facts.put(field, Found::known(value));
        put(Field::KeyId, request.key_id().as_bytes());
        put(Field::KeyType, request.key_type().name().as_bytes());
        put(Field::What, request.what().to_string().as_bytes());
        put(Field::Identity, request.kind().word().as_bytes());
        put(Field::Uid, identity.uid().to_string().as_bytes());
        match identity.subject() {
            Subject::Path(path) => put(Field::Exe, path),
            Subject::Csum(digest) => put(Field::Sha256, to_hex(digest).as_bytes()),
            Subject::Id | Subject::Cgroup(_) | Subject::Verity(..) => {}
        }
        facts
    }

    /// What the kernel passes on of a request, before anybody has tried to understand it.
    pub fn of_strings(key_type: &[u8], description: &[u8]) -> Self {
        let mut facts = Self::default();
        facts.put(Field::KeyType, Found::known(key_type));
        if let Some(key_id) = description.strip_prefix(PREFIX.as_bytes()) {
            facts.put(Field::KeyId, Found::known(key_id));
        }
        facts
    }

    /// Adds what was found out.
    pub fn put(&mut self, field: Field, found: Found) {
        self.found[field as usize] = Some(found);
    }

    /// Adds why the asker may not be who it seems to be.
    pub fn put_doubts(&mut self, doubts: Doubts) {
        self.doubts = doubts;
    }

    pub(super) fn doubts(&self) -> &Doubts {
        &self.doubts
    }

    /// What was found out; nothing if nobody has looked yet.
    pub fn get(&self, field: Field) -> Option<&Found> {
        self.found[field as usize].as_ref()
    }
}

/// A digest as rules write it.
pub fn to_hex(digest: &[u8]) -> String {
    use fmt::Write;
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
