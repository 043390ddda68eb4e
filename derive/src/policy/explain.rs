// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a policy says what it says, for a person.

use super::facts::{Facts, Field, Found};
use super::rule::Met;
use super::rules::Condition;
use super::{Action, Judgement, Place, Policy};
use crate::config::one_line;

/// What decided, and what about the request made it decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Whether the key is given.
    pub allowed: bool,
    /// What decided and how, in a sentence.
    pub decision: String,
    /// What the deciding rule asks for and what it finds, in a line each.
    pub because: Vec<String>,
    /// How the key is given, in a line each.
    pub given: Vec<String>,
    /// The rules before it, with the first thing that keeps each from being about
    /// the request.
    pub passed_over: Vec<String>,
}

impl Policy {
    /// Explains a judgement of this policy by the facts that it was made of.
    pub fn explain(&self, judgement: &Judgement, facts: &Facts) -> Explained {
        let by = self.title(judgement.rule);
        let (allowed, decision) = match judgement.verdict() {
            Ok(_) => (true, format!("allowed by {by}")),
            Err(refusal) => (false, format!("refused: {refusal}")),
        };
        let mut because: Vec<_> = match judgement.rule {
            Some(place) => {
                let conditions = self.rule(place).conditions();
                conditions.map(|condition| line(condition, facts)).collect()
            }
            None if self.rules().next().is_none() => vec!["there are no rules".into()],
            None => vec!["no rule is about this request".into()],
        };
        if because.is_empty() {
            because.push("it has no conditions: it is about everybody".into());
        }
        let grant = judgement.verdict().unwrap_or_default();
        let tolerated = facts.doubts().within(grant.tolerate);
        because.extend(tolerated.map(|(doubt, seen)| format!("it tolerates {doubt}: {seen}")));
        let mut given = Vec::new();
        if let Some(permissions) = grant.permissions {
            given.push(format!("permissions {permissions:#010x}"));
        }
        if let Some(seconds) = grant.timeout_seconds {
            given.push(format!("for {seconds} seconds"));
        }
        let places = self.rules().map(|(place, _)| place);
        let before = places.take_while(|place| Some(*place) != judgement.rule);
        let passed_over = before.map(|place| self.why_not(place, facts));
        Explained {
            allowed,
            decision,
            because,
            given,
            passed_over: passed_over.collect(),
        }
    }

    /// What keeps a rule from being about the request.
    fn why_not(&self, place: Place, facts: &Facts) -> String {
        let rule = self.rule(place);
        let fails = |condition: &Condition<'_>| match condition.met(facts) {
            Met::No => true,
            Met::Unknown(_) => rule.action() == Action::Allow,
            Met::Yes | Met::NotAsked => false,
        };
        let why = rule.conditions().find(fails);
        let why = why.map_or_else(String::new, |condition| line(condition, facts));
        format!("{}: {why}", self.title(Some(place)))
    }
}

/// A condition, and what it meets.
fn line(condition: Condition<'_>, facts: &Facts) -> String {
    let field = condition.field();
    let patterns: Vec<_> = condition.patterns().map(|glob| glob.to_string()).collect();
    let patterns = one_line(&patterns.join(", "));
    let found = facts.get(field).cloned().unwrap_or_default();
    let values = shown(&found);
    match condition.met(facts) {
        Met::Yes => format!("{field} {values} is {patterns}"),
        Met::No if found.values.is_empty() => format!("{} is not {patterns}", nothing(field)),
        Met::No => format!("{field} {values} is not {patterns}"),
        Met::Unknown(why) => {
            format!("{field} can't be told ({why}), so not whether it is {patterns}")
        }
        Met::NotAsked => format!("{field} was not looked at"),
    }
}

fn shown(found: &Found) -> String {
    let values: Vec<_> = found
        .values
        .iter()
        .map(|value| {
            format!(
                "\"{}\"",
                value.escape_ascii().to_string().replace("\\'", "'")
            )
        })
        .collect();
    values.join(", ")
}

/// What it means that there is no value.
fn nothing(field: Field) -> &'static str {
    match field {
        Field::Unit => "no unit",
        Field::Package => "no package's file",
        Field::Label => "no label",
        Field::Group => "no group with a name",
        Field::User => "no user with a name",
        _ => "nothing",
    }
}
