// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A policy's file, from text to rules.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use toml::Spanned;

use super::doubt::Doubt;
use super::facts::{Facts, Field};
use super::pattern::PatternsOf;
use super::rule::{Action, Grant};
use super::rules::{Draft, Rules};
use crate::config::one_line;

/// A file, understood to the last key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) default: Option<Action>,
    pub(super) rules: Rules,
}

/// The same as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    default: Option<Spanned<Action>>,
    #[serde(rename = "rule")]
    rules: Vec<Spanned<Rule>>,
}

/// Where in a file something is wrong, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) what: String,
}

impl Fault {
    pub(super) fn at(text: &str, offset: usize, what: &str) -> Self {
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: newlines(before) + 1,
            column: before[line_start..].chars().count() + 1,
            what: one_line(what),
        }
    }
}

/// Reads any file, and says where the first thing that is wrong with it is. Only the first of
/// a policy's files may have a default.
pub(super) fn parse(text: &str, is_first: bool, facts: Option<&Facts>) -> Result<Read, Fault> {
    let written: Written = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        Fault::at(text, offset, error.message())
    })?;
    if let Some(default) = &written.default
        && !is_first
    {
        let what = "the default belongs into policy.toml; here, end with a rule without conditions";
        return Err(Fault::at(text, default.span().start, what));
    }
    let mut rules = Draft::new(facts);
    let (mut line, mut done) = (1, 0);
    for rule in written.rules {
        let start = rule.span().start;
        line += newlines(&text[done..start]);
        done = start;
        let rule = rule.into_inner();
        if let Some(name) = &rule.name {
            rules.name(name);
        }
        for (field, patterns) in &rule.conditions {
            for pattern in patterns {
                rules.may_be(*field, pattern);
            }
            rules.end_condition();
        }
        rules.end_rule(line, rule.says);
    }
    Ok(Read {
        default: written.default.map(Spanned::into_inner),
        rules: rules.rules(),
    })
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// A key of a rule's table.
#[derive(Clone, Copy)]
pub(super) enum Key {
    Name,
    Action,
    Field(Field),
    Permissions,
    TimeoutSeconds,
    MinimumGeneration,
    ScopeAny,
    Tolerate,
}

impl Key {
    const EXPECTED: &[&str] = &[
        "name",
        "action",
        "key_id",
        "key_type",
        "what",
        "identity",
        "uid",
        "user",
        "gid",
        "group",
        "exe",
        "unit",
        "label",
        "package",
        "sha256",
        "permissions",
        "timeout_seconds",
        "minimum_generation",
        "scope_any",
        "tolerate",
    ];

    #[inline]
    pub(super) fn of_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"name" => Self::Name,
            b"action" => Self::Action,
            b"permissions" => Self::Permissions,
            b"timeout_seconds" => Self::TimeoutSeconds,
            b"minimum_generation" => Self::MinimumGeneration,
            b"scope_any" => Self::ScopeAny,
            b"tolerate" => Self::Tolerate,
            _ => Self::Field(Field::of_name(name)?),
        })
    }

    /// Whether it says how the key is given.
    pub(super) fn is_grant(self) -> bool {
        !matches!(self, Self::Name | Self::Action | Self::Field(_))
    }

    /// A bit of its own.
    pub(super) fn bit(self) -> u32 {
        let number = match self {
            Self::Field(field) => field as usize,
            Self::Name => Field::ALL.len(),
            Self::Action => Field::ALL.len() + 1,
            Self::Permissions => Field::ALL.len() + 2,
            Self::TimeoutSeconds => Field::ALL.len() + 3,
            Self::MinimumGeneration => Field::ALL.len() + 4,
            Self::ScopeAny => Field::ALL.len() + 5,
            Self::Tolerate => Field::ALL.len() + 6,
        };
        1 << number
    }
}

/// What is read of a rule besides its conditions and its name.
#[derive(Default)]
pub(super) struct Says {
    pub(super) action: Option<Action>,
    pub(super) grant: Grant,
    /// Whether there is a key that says how the key is given.
    pub(super) grants: bool,
}

impl Says {
    /// All of it, or what the rule lacks.
    pub(super) fn whole(self) -> Result<(Action, Grant), &'static str> {
        match self.action {
            None => Err("this rule has no action: \"allow\" or \"deny\"?"),
            Some(Action::Deny) if self.grants => Err(
                "a rule that denies gives no key: permissions, timeout_seconds, \
                 minimum_generation, scope_any and tolerate are for rules that allow",
            ),
            Some(action) => Ok((action, self.grant)),
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key of a rule")
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<Key, E> {
                Key::of_name(key.as_bytes()).ok_or_else(|| E::unknown_field(key, Key::EXPECTED))
            }
        }
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

/// A rule, as the general reader has it.
struct Rule {
    name: Option<String>,
    says: (Action, Grant),
    conditions: Vec<(Field, Vec<String>)>,
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RuleVisitor)
    }
}

struct RuleVisitor;

impl<'de> Visitor<'de> for RuleVisitor {
    type Value = Rule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table [[rule]]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rule, A::Error> {
        let (mut says, mut name, mut conditions) = (Says::default(), None, Vec::new());
        while let Some(key) = map.next_key()? {
            let grant = &mut says.grant;
            match key {
                Key::Name => name = Some(map.next_value()?),
                Key::Action => says.action = Some(map.next_value()?),
                Key::Field(field) => {
                    conditions.push((field, map.next_value_seed(PatternsOf(field))?));
                }
                Key::Permissions => {
                    grant.permissions = Some(map.next_value_seed(Number::PERMISSIONS)?);
                }
                Key::TimeoutSeconds => {
                    grant.timeout_seconds = Some(map.next_value_seed(Number::SECONDS)?);
                }
                Key::MinimumGeneration => {
                    grant.minimum_generation = map.next_value_seed(Number::GENERATION)?;
                }
                Key::ScopeAny => grant.scope_any = map.next_value()?,
                Key::Tolerate => {
                    grant.tolerate = map.next_value::<Vec<Doubt>>()?.into_iter().collect();
                }
            }
            says.grants |= key.is_grant();
        }
        Ok(Rule {
            name,
            says: says.whole().map_err(de::Error::custom)?,
            conditions,
        })
    }
}

/// A number of 32 bits, of which only some may be set.
#[derive(Clone, Copy)]
pub(super) struct Number {
    least: u32,
    bits: u32,
}

impl Number {
    /// Of a key.
    pub(super) const PERMISSIONS: Self = Self {
        least: 0,
        bits: 0x3f3f_3f3f,
    };
    /// Until a key is forgotten.
    pub(super) const SECONDS: Self = Self {
        least: 1,
        bits: u32::MAX,
    };
    /// Of keys.
    pub(super) const GENERATION: Self = Self {
        least: 0,
        bits: u32::MAX,
    };

    /// The number that was given, or what is wrong with it.
    pub(super) fn check(self, given: i64) -> Result<u32, String> {
        match u32::try_from(given) {
            Ok(number) if number & !self.bits != 0 => Err(format!(
                "{number:#010x} is no key's permissions: they are within {:#x}",
                self.bits
            )),
            Ok(number) if number >= self.least => Ok(number),
            _ => Err(format!(
                "{given} is not from {} to {}",
                self.least, self.bits
            )),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Number {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        let given = i64::deserialize(deserializer)?;
        self.check(given).map_err(de::Error::custom)
    }
}
