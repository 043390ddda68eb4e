// SPDX-License-Identifier: Apache-2.0 OR MIT
//! May they have it?
//!
//! A policy is a list of rules. The first one that is about a request decides;
//! where none is, the default does. [`Policy::judge`] is that decision, a function
//! of the policy, the request and what is known about its asker, of nothing else:
//! the callout and `tdk policy explain` both call it. `docs/policy.md` is for those
//! who write policies.

mod doubt;
mod explain;
mod facts;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod glob;
mod lines;
mod load;
mod parse;
mod pattern;
mod plain;
mod rule;
mod rules;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

pub use doubt::{Doubt, Doubts, Tolerance};
pub use explain::Explained;
pub use facts::{Facts, Field, Found, Nothing, Source, to_hex};
pub use glob::Glob;
pub use load::{PolicyError, PolicyFiles};
use rule::About;
pub use rule::{Action, Grant};
use rules::{Condition, Rule, Rules};

use crate::config::one_line;
use crate::derivation::Unlocked;
use crate::identity::{Identified, Identity, Kind, Scope};
use crate::key_info::KeyInfo;
use crate::request::Request;
use crate::tpm::{RootKey, Tpm, TpmError};

/// What decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    default: Action,
    files: Vec<File>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    path: PathBuf,
    rules: Rules,
}

/// Where a rule is: the number of the file, and the rule's in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    file: usize,
    rule: usize,
}

/// What a policy says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    rule: Option<Place>,
    verdict: Result<Grant, Refusal>,
}

impl Judgement {
    /// How the key is given, or why it is not.
    ///
    /// # Errors
    ///
    /// The [`Refusal`].
    pub fn verdict(&self) -> Result<Grant, &Refusal> {
        self.verdict.as_ref().copied()
    }
}

impl Policy {
    /// The policy that holds where there are no files: a key that is bound to its
    /// asker's uid may be had by its asker; `scope=any` is refused.
    pub fn shipped() -> Self {
        Self {
            default: Action::Allow,
            files: Vec::new(),
        }
    }

    /// Whether there is a rule that gives keys permissions of their own.
    pub fn sets_permissions(&self) -> bool {
        let mut files = self.files.iter();
        files.any(|file| file.rules.all.sets_permissions)
    }

    /// All rules that may be about the request, in the order in which they are asked.
    fn rules(&self) -> impl Iterator<Item = (Place, Rule<'_>)> {
        self.files.iter().enumerate().flat_map(|(file, read)| {
            let rules = read.rules.iter().enumerate();
            rules.map(move |(number, rule)| (Place { file, rule: number }, rule))
        })
    }

    fn rule(&self, place: Place) -> Rule<'_> {
        self.files[place.file].rules.get(place.rule)
    }

    /// What this policy says about a request whose asker is known as far as the
    /// facts go.
    ///
    /// # Errors
    ///
    /// The [`Field`] that the decision hangs on and that nobody has looked at: find
    /// out, put it to the facts, and judge again. It is never one that is there.
    pub fn judge(&self, request: &Request, facts: &Facts) -> Result<Judgement, Field> {
        for (place, rule) in self.rules() {
            let unknown = match rule.about(facts) {
                About::No => continue,
                About::Needs(field) => return Err(field),
                About::Yes => None,
                About::Perhaps(field) => Some(field),
            };
            return Ok(Judgement {
                rule: Some(place),
                verdict: self.verdict(Some(place), request, facts, unknown),
            });
        }
        Ok(Judgement {
            rule: None,
            verdict: self.verdict(None, request, facts, None),
        })
    }

    fn verdict(
        &self,
        place: Option<Place>,
        request: &Request,
        facts: &Facts,
        unknown: Option<Field>,
    ) -> Result<Grant, Refusal> {
        let rule = place.map(|place| self.rule(place));
        let action = rule.map_or(self.default, Rule::action);
        let grant = rule.map_or(Grant::default(), Rule::grant);
        let least = grant.minimum_generation;
        let matters = |doubt: Doubt| {
            let asks = |condition: Condition<'_>| doubt.matters_to(condition.field());
            doubt.matters_by(request.kind()) || rule.is_some_and(|rule| rule.conditions().any(asks))
        };
        let why = if action == Action::Deny {
            unknown.map_or(Why::Denied, Why::Unknown)
        } else if let Some((doubt, seen)) = facts.doubts().beyond(grant.tolerate, matters) {
            Why::Doubt(doubt, seen)
        } else if request.scope() == Scope::Any && !grant.scope_any {
            Why::ScopeAny
        } else if request.generation() < least {
            Why::Generation(least)
        } else {
            return Ok(grant);
        };
        let by = self.title(place);
        Err(Refusal { why, by })
    }

    /// Refuses what no rule can allow, because of a doubt that matters to how the
    /// asker is to be known and that none tolerates: before more is done for it, such
    /// as to hash its executable. What is left to [`Policy::judge`] is refused there.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that says which doubt it is.
    pub fn rule_out(&self, kind: Kind, doubts: &Doubts) -> Result<(), Refusal> {
        let tolerances = self.files.iter().map(|file| file.rules.all.tolerate);
        let tolerance = tolerances.fold(Tolerance::default(), Tolerance::or);
        match doubts.beyond(tolerance, |doubt| doubt.matters_by(kind)) {
            None => Ok(()),
            Some((doubt, seen)) => Err(Refusal {
                why: Why::RuledOut(doubt, seen),
                by: String::new(),
            }),
        }
    }

    /// The same, from a source that is asked for what the decision hangs on. The
    /// facts are what has been found out for it.
    pub fn judge_by(&self, identified: &Identified, source: &mut dyn Source) -> (Judgement, Facts) {
        let mut facts = Facts::of(identified);
        facts.put_doubts(source.doubts());
        loop {
            match self.judge(&identified.request, &facts) {
                Ok(judgement) => return (judgement, facts),
                Err(field) => facts.put(field, source.find(field)),
            }
        }
    }

    /// Next stage: decides about a request and its asker.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that says why not. The asker gets EACCES.
    pub fn decide(
        &self,
        identified: Identified,
        source: &mut dyn Source,
    ) -> Result<Decision, Refusal> {
        let (judgement, _) = self.judge_by(&identified, source);
        let by = self.title(judgement.rule);
        let grant = judgement.verdict?;
        Ok(Decision {
            grant,
            by,
            ..Decision::allowed(identified)
        })
    }

    /// What a rule, or the default, is called.
    fn title(&self, place: Option<Place>) -> String {
        let Some(place) = place else {
            return "the default".into();
        };
        let rule = self.rule(place);
        let file = self.files[place.file].path.display();
        match rule.name() {
            Some(name) => format!("rule '{}' at {file}:{}", one_line(name), rule.line()),
            None => format!("the rule at {file}:{}", rule.line()),
        }
    }
}

/// Whether it is the name of a systemd unit that processes can be in.
pub fn is_unit(name: &[u8]) -> bool {
    [&b".service"[..], b".scope", b".socket", b".mount", b".swap"]
        .iter()
        .any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

/// A request that has been allowed. The next stage is [`Decision::unlock`].
#[derive(Clone, Debug)]
pub struct Decision {
    identity: Identity,
    key_info: KeyInfo,
    grant: Grant,
    by: String,
}

impl Decision {
    pub(crate) fn allowed(identified: Identified) -> Self {
        Self {
            key_info: KeyInfo::from(&identified.request),
            identity: identified.identity,
            grant: Grant::default(),
            by: "the operator".into(),
        }
    }

    /// How the key is to be given.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// Which rule has decided, for the log.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// Next stage: has the TPM make the identity key. This is the one step that
    /// needs the TPM; what follows is computed.
    ///
    /// # Errors
    ///
    /// The [`TpmError`] of the command that failed.
    pub fn unlock<T: Tpm>(self, root: &mut RootKey<'_, T>) -> Result<Unlocked, TpmError> {
        let identity_key = root.identity_key(&self.identity.digest())?;
        Ok(Unlocked::new(identity_key, self.key_info))
    }
}

/// Why not, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    why: Why,
    by: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// It denies.
    Denied,
    /// It denies whom it is about, and may be about this asker.
    Unknown(Field),
    /// It does not tolerate what was seen of the asker.
    Doubt(Doubt, String),
    /// No rule does.
    RuledOut(Doubt, String),
    /// It allows keys that are bound to a user.
    ScopeAny,
    /// It allows keys from a later generation on.
    Generation(u32),
}

impl Refusal {
    /// What the asker can do about it.
    pub fn hint(&self) -> &'static str {
        match self.why {
            Why::Doubt(doubt, _) | Why::RuledOut(doubt, _) => doubt.hint(),
            Why::Denied | Why::Unknown(_) => "'tdk policy explain' tells why",
            Why::ScopeAny => "ask without scope=any, for a key bound to your uid",
            Why::Generation(_) => "ask with gen= and a later generation",
        }
    }

    /// Which rule has decided, for the log.
    pub fn by(&self) -> &str {
        &self.by
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = &self.by;
        match &self.why {
            Why::Denied => write!(f, "{by} of the policy denies it"),
            Why::Unknown(field) => write!(
                f,
                "{by} of the policy denies it, as the asker's {field} can't be told"
            ),
            Why::Doubt(doubt, seen) => {
                write!(
                    f,
                    "{seen}, and {by} of the policy does not tolerate that ({doubt})"
                )
            }
            Why::RuledOut(_, seen) => f.write_str(seen),
            Why::ScopeAny => write!(
                f,
                "scope=any is refused: {by} of the policy does not allow it"
            ),
            Why::Generation(least) => {
                write!(f, "{by} of the policy allows generation {least} and later")
            }
        }
    }
}

impl std::error::Error for Refusal {}
