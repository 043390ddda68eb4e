// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A policy's file, from text to rules.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use smallvec::smallvec;
use toml::Spanned;

use super::doubt::Doubt;
use super::facts::Field;
use super::glob::Glob;
use super::plain::plain;
use super::rule::{Action, Condition, Grant, Patterns, Rule};
use crate::config::one_line;
use crate::identity::Kind;
use crate::request::{KeyType, What};

/// Every bit that a key's permissions can have.
const PERMISSIONS: u32 = 0x3f3f_3f3f;

/// A file, understood to the last key.
#[derive(Debug, Default, PartialEq)]
pub(super) struct File {
    /// With where it is.
    pub(super) default: Option<(usize, Action)>,
    /// Each with its line.
    pub(super) rules: Vec<(usize, Rule)>,
}

/// The same as it is written.
#[derive(Debug, Default, Deserialize)]
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

/// Reads a file.
pub(super) fn parse(text: &str) -> Result<File, Fault> {
    plain(text).map_or_else(|| whole(text), Ok)
}

/// Reads any file, and says where the first thing that is wrong with it is.
pub(super) fn whole(text: &str) -> Result<File, Fault> {
    let written: Written = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        Fault::at(text, offset, error.message())
    })?;
    let default = written
        .default
        .map(|default| (default.span().start, default.into_inner()));
    let (mut line, mut done) = (1, 0);
    let rules = written.rules.into_iter().map(|rule| {
        let start = rule.span().start;
        line += newlines(&text[done..start]);
        done = start;
        (line, rule.into_inner())
    });
    Ok(File {
        default,
        rules: rules.collect(),
    })
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// A key of a rule's table.
enum Key {
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
                Ok(match key {
                    "name" => Key::Name,
                    "action" => Key::Action,
                    "permissions" => Key::Permissions,
                    "timeout_seconds" => Key::TimeoutSeconds,
                    "minimum_generation" => Key::MinimumGeneration,
                    "scope_any" => Key::ScopeAny,
                    "tolerate" => Key::Tolerate,
                    _ => Field::of_name(key)
                        .map(Key::Field)
                        .ok_or_else(|| E::unknown_field(key, Key::EXPECTED))?,
                })
            }
        }
        deserializer.deserialize_identifier(KeyVisitor)
    }
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
        let (mut name, mut action) = (None, None);
        let mut conditions = Vec::new();
        let mut grant = Grant::default();
        let mut grants = false;
        while let Some(key) = map.next_key()? {
            match key {
                Key::Name => name = Some(map.next_value()?),
                Key::Action => action = Some(map.next_value()?),
                Key::Field(field) => conditions.push(Condition {
                    field,
                    patterns: map.next_value_seed(PatternsOf(field))?,
                }),
                given => {
                    grants = true;
                    match given {
                        Key::Permissions => {
                            grant.permissions = Some(map.next_value_seed(Number {
                                least: 0,
                                bits: PERMISSIONS,
                            })?);
                        }
                        Key::TimeoutSeconds => {
                            grant.timeout_seconds = Some(map.next_value_seed(Number {
                                least: 1,
                                bits: u32::MAX,
                            })?);
                        }
                        Key::MinimumGeneration => {
                            grant.minimum_generation = map.next_value_seed(Number {
                                least: 0,
                                bits: u32::MAX,
                            })?;
                        }
                        Key::Tolerate => {
                            grant.tolerate = map.next_value::<Vec<Doubt>>()?.into_iter().collect();
                        }
                        _ => grant.scope_any = map.next_value()?,
                    }
                }
            }
        }
        let error = |what: &str| Err(de::Error::custom(what));
        let Some(action) = action else {
            return error("this rule has no action: \"allow\" or \"deny\"?");
        };
        if action == Action::Deny && grants {
            return error(
                "a rule that denies gives no key: permissions, timeout_seconds, \
                 minimum_generation, scope_any and tolerate are for rules that allow",
            );
        }
        conditions.sort_by_key(|condition| condition.field);
        Ok(Rule {
            name,
            action,
            conditions,
            grant,
        })
    }
}

/// A number of 32 bits, of which only some may be set.
struct Number {
    least: u32,
    bits: u32,
}

impl<'de> DeserializeSeed<'de> for Number {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        let given = i64::deserialize(deserializer)?;
        match u32::try_from(given) {
            Ok(number) if number & !self.bits != 0 => Err(de::Error::custom(format!(
                "{number:#010x} is no key's permissions: they are within {:#x}",
                self.bits
            ))),
            Ok(number) if number >= self.least => Ok(number),
            _ => Err(de::Error::custom(format!(
                "{given} is not from {} to {}",
                self.least, self.bits
            ))),
        }
    }
}

/// A pattern, or a list of them, for a field.
struct PatternsOf(Field);

impl<'de> DeserializeSeed<'de> for PatternsOf {
    type Value = Patterns;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Patterns, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PatternsOf {
    type Value = Patterns;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a list of them", Pattern(self.0))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Patterns, E> {
        Ok(smallvec![Pattern(self.0).visit_str(text)?])
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Patterns, E> {
        Ok(smallvec![Pattern(self.0).visit_i64(number)?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Patterns, A::Error> {
        let mut patterns = Patterns::new();
        while let Some(pattern) = list.next_element_seed(Pattern(self.0))? {
            patterns.push(pattern);
        }
        if patterns.is_empty() {
            return Err(de::Error::custom(
                "an empty list matches nobody; to match everybody, leave it out",
            ));
        }
        Ok(patterns)
    }
}

/// One pattern for a field.
#[derive(Clone, Copy)]
struct Pattern(Field);

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Field::Uid | Field::Gid => "a number",
            Field::What => "a length in bytes or a word such as \"rsa2048\"",
            _ => "a string",
        })
    }
}

impl<'de> DeserializeSeed<'de> for Pattern {
    type Value = Glob;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Glob, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Pattern {
    type Value = Glob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Glob, E> {
        let is_one = match self.0 {
            // -1 is no id.
            Field::Uid | Field::Gid => (0..i64::from(u32::MAX)).contains(&number),
            Field::What => (1..=1024).contains(&number),
            _ => return Err(E::invalid_type(de::Unexpected::Signed(number), &self)),
        };
        let text = number.to_string();
        if !is_one {
            let what = match self.0 {
                Field::What => "length from 1 to 1024",
                _ => "user's or group's",
            };
            return Err(E::custom(format!("{text} is no {what}")));
        }
        Glob::new(&text).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Glob, E> {
        let glob = match self.0 {
            Field::Uid | Field::Gid => {
                return Err(E::custom(format!(
                    "{} is a number; a name is called {}",
                    self.0,
                    if self.0 == Field::Uid {
                        "user"
                    } else {
                        "group"
                    }
                )));
            }
            Field::Exe | Field::Unit => Glob::of_paths(text),
            Field::Sha256 => Glob::new(&text.to_ascii_lowercase()),
            _ => Glob::new(text),
        }
        .map_err(E::custom)?;
        match self.misfit(text, glob.as_literal()) {
            None => Ok(glob),
            Some(what) => Err(E::custom(format!("'{}' {what}", text.escape_debug()))),
        }
    }
}

impl Pattern {
    /// Why nothing can ever match the pattern, as far as that can be told.
    fn misfit(self, text: &str, literal: Option<&[u8]>) -> Option<&'static str> {
        let is_none = |is_word: &dyn Fn(&[u8]) -> bool| literal.is_some_and(|word| !is_word(word));
        let what = match self.0 {
            Field::KeyType if is_none(&|word| KeyType::parse(word).is_ok()) => {
                "is no key type: it takes user, logon, big_key and asymmetric"
            }
            Field::What if is_none(&|word| What::parse(word).is_ok()) => {
                "is nothing that a key can be: it takes 1 to 1024, rsa2048, rsa3072, rsa4096, \
                 p256, p384 and ed25519"
            }
            Field::Identity if is_none(&|word| Kind::from_word(word).is_some()) => {
                "is no identity: it takes path, csum, id, cgroup and verity"
            }
            Field::Exe if !text.starts_with(['/', '*']) => "is no absolute path",
            Field::Unit if text.contains('/') => "is a path: a unit is called as in nginx.service",
            Field::Unit if is_none(&super::is_unit) => {
                "is no unit that processes are in: such names end in .service, .scope, .socket, \
                 .mount or .swap"
            }
            Field::Package if text.contains(':') => {
                "is no package's name: it takes Debian's, without an architecture"
            }
            Field::Sha256 if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                "is no SHA-256: it takes 64 hexadecimal digits"
            }
            _ => return None,
        };
        Some(what)
    }
}
