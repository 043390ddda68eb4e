// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One rule: whom it is about, and what it says.

use super::doubt::Tolerance;
use super::facts::{Facts, Field, Found};
use super::rules::{Condition, Rule};

/// What a rule, or the default, says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// They may have the key.
    Allow,
    /// They may not.
    Deny,
}

/// How a key is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The key's permissions, as KEYCTL_SETPERM takes them; the kernel's own if
    /// there are none.
    pub permissions: Option<u32>,
    /// After how many seconds the kernel forgets the key.
    pub timeout_seconds: Option<u32>,
    /// Older generations are refused.
    pub minimum_generation: u32,
    /// Whether the key may be bound to no user.
    pub scope_any: bool,
    /// What may be seen of the asker and is refused otherwise.
    pub tolerate: Tolerance,
}

/// Whether a condition is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Met<'a> {
    Yes,
    No,
    /// Nobody can tell, for this reason.
    Unknown(&'a str),
    /// Nobody has looked.
    NotAsked,
}

impl Condition<'_> {
    pub(super) fn met(self, facts: &Facts) -> Met<'_> {
        let Some(Found { values, unknown }) = facts.get(self.field()) else {
            return Met::NotAsked;
        };
        let matches = |value: &Vec<u8>| self.patterns().any(|glob| glob.matches(value));
        match unknown {
            _ if values.iter().any(matches) => Met::Yes,
            None => facts
                .doubts()
                .hides(self.field())
                .map_or(Met::No, Met::Unknown),
            Some(why) => Met::Unknown(why),
        }
    }
}

/// Whether a rule is about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Yes,
    No,
    /// It may be, and so it is, for it denies. The field that nobody knows.
    Perhaps(Field),
    /// It hangs on a field that nobody has looked at.
    Needs(Field),
}

impl Rule<'_> {
    /// Whether this rule is about a request: if all its conditions are met. Where
    /// one can't be told and no other fails, a rule that denies is about the
    /// request and one that allows is not.
    pub(super) fn about(self, facts: &Facts) -> About {
        let mut about = About::Yes;
        for condition in self.conditions() {
            match condition.met(facts) {
                Met::No => return About::No,
                Met::Unknown(_) if self.action() == Action::Allow => return About::No,
                Met::Unknown(_) if about == About::Yes => about = About::Perhaps(condition.field()),
                Met::Yes | Met::Unknown(_) => {}
                Met::NotAsked => return About::Needs(condition.field()),
            }
        }
        about
    }
}
