// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why askers may not be who they seem to be, and what a rule tolerates of it.

use std::fmt;

use super::facts::Field;
use crate::identity::Kind;

/// A reason not to believe what is seen of an asker. Each is refused unless the rule
/// that allows the key tolerates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// A thread of its process is traced, and so does what its tracer likes.
    Traced,
    /// It is not in the initial user namespace.
    UserNamespace,
    /// Its program is set-uid or the like, and somebody else has started it.
    SetUid,
    /// Others can put another program where its executable is.
    WritablePath,
    /// Its executable is on a file system that a user answers for.
    Fuse,
    /// What the kernel calls its executable is not mapped where it began.
    Unmapped,
}

impl Doubt {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 6] = [
        Self::Traced,
        Self::UserNamespace,
        Self::SetUid,
        Self::WritablePath,
        Self::Fuse,
        Self::Unmapped,
    ];

    /// What rules call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traced => "traced",
            Self::UserNamespace => "user-namespace",
            Self::SetUid => "set-uid",
            Self::WritablePath => "writable-path",
            Self::Fuse => "fuse",
            Self::Unmapped => "unmapped",
        }
    }

    /// What the asker can do about it.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Traced => "ask without a debugger",
            Self::UserNamespace => "ask from the initial user namespace",
            Self::SetUid => "ask from a program that its user starts, or with id",
            Self::WritablePath => "let nobody else write there, or ask with csum or id",
            Self::Fuse => "put it on another file system, or ask with id",
            Self::Unmapped => "ask from a program that is not packed, or with id",
        }
    }

    /// Whether it is about what an asker is known by.
    pub(super) fn matters_by(self, kind: Kind) -> bool {
        match self {
            Self::Traced | Self::UserNamespace => true,
            Self::WritablePath => kind == Kind::Path,
            Self::SetUid | Self::Fuse | Self::Unmapped => {
                matches!(kind, Kind::Path | Kind::Csum | Kind::Verity)
            }
        }
    }

    /// Whether it is about what a rule asks.
    pub(super) fn matters_to(self, field: Field) -> bool {
        match self {
            Self::Traced | Self::UserNamespace => true,
            Self::WritablePath => field == Field::Exe,
            Self::SetUid | Self::Fuse | Self::Unmapped => {
                matches!(field, Field::Exe | Field::Package | Field::Sha256)
            }
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some of the doubts: those that a rule tolerates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance(u8);

impl Tolerance {
    /// Adds one.
    pub fn add(&mut self, doubt: Doubt) {
        self.0 |= 1 << doubt as u8;
    }

    /// Whether it is one of them.
    pub fn has(self, doubt: Doubt) -> bool {
        self.0 & 1 << doubt as u8 != 0
    }

    /// What either of two tolerates.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Doubt> for Tolerance {
    fn from_iter<T: IntoIterator<Item = Doubt>>(doubts: T) -> Self {
        let mut tolerance = Self::default();
        doubts.into_iter().for_each(|doubt| tolerance.add(doubt));
        tolerance
    }
}

/// The doubts about an asker, each with what was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubts(Vec<(Doubt, String)>);

impl Doubts {
    /// Adds one, and what was seen, as a sentence without its stop.
    pub fn add(&mut self, doubt: Doubt, seen: impl fmt::Display) {
        self.0.push((doubt, seen.to_string()));
        self.0.sort();
    }

    /// Why what is seen of a field may be another's: then a rule that denies is about it,
    /// whatever is seen.
    pub(super) fn hides(&self, field: Field) -> Option<&str> {
        let hides = |doubt: Doubt| {
            matches!(doubt, Doubt::Fuse | Doubt::Unmapped) && doubt.matters_to(field)
        };
        let mut doubts = self.0.iter();
        let (_, seen) = doubts.find(|(doubt, _)| hides(*doubt))?;
        Some(seen)
    }

    /// Those that are tolerated.
    pub(super) fn within(&self, tolerance: Tolerance) -> impl Iterator<Item = &(Doubt, String)> {
        let doubts = self.0.iter();
        doubts.filter(move |(doubt, _)| tolerance.has(*doubt))
    }

    /// The first that is not tolerated and matters.
    pub(super) fn beyond(
        &self,
        tolerance: Tolerance,
        matters: impl Fn(Doubt) -> bool,
    ) -> Option<(Doubt, String)> {
        let mut doubts = self.0.iter();
        doubts
            .find(|(doubt, _)| !tolerance.has(*doubt) && matters(*doubt))
            .cloned()
    }
}
