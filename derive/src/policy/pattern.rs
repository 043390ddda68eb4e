// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a rule's fields have to be, from what is written.

use std::borrow::Cow;
use std::fmt;

use super::facts::Field;
use super::glob::{self, is_literal};
use crate::identity::Kind;
use crate::request::{KeyType, What};
use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};

/// A pattern, or a list of them, for a field.
pub(super) struct PatternsOf(pub(super) Field);

impl<'de> DeserializeSeed<'de> for PatternsOf {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PatternsOf {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a list of them", Pattern(self.0))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(vec![Pattern(self.0).visit_str(text)?])
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vec<String>, E> {
        Ok(vec![Pattern(self.0).visit_i64(number)?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
        let mut patterns = Vec::new();
        while let Some(pattern) = list.next_element_seed(Pattern(self.0))? {
            patterns.push(pattern);
        }
        if patterns.is_empty() {
            let what = "an empty list matches nobody; to match everybody, leave it out";
            return Err(de::Error::custom(what));
        }
        Ok(patterns)
    }
}

/// One pattern for a field.
#[derive(Clone, Copy)]
pub(super) struct Pattern(pub(super) Field);

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
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Pattern {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        if !self.is_number() {
            return Err(E::invalid_type(de::Unexpected::Signed(number), &self));
        }
        self.of_number(number).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let pattern = self.of_text(text).map_err(E::custom)?;
        Ok(pattern.into_owned())
    }
}

impl Pattern {
    /// Whether it can be written as a number.
    pub(super) fn is_number(self) -> bool {
        matches!(self.0, Field::Uid | Field::Gid | Field::What)
    }

    /// The pattern that a number is, where it can be one.
    pub(super) fn of_number(self, number: i64) -> Result<String, String> {
        let (range, what) = if self.0 == Field::What {
            (1..=1024, "length from 1 to 1024")
        } else {
            // -1 is no id.
            (0..=i64::from(u32::MAX) - 1, "user's or group's")
        };
        if range.contains(&number) {
            Ok(number.to_string())
        } else {
            Err(format!("{number} is no {what}"))
        }
    }

    /// The pattern that a string is.
    #[inline]
    pub(super) fn of_text(self, text: &str) -> Result<Cow<'_, str>, Cow<'static, str>> {
        match self.0 {
            Field::Uid => return Err("uid is a number; a name is called user".into()),
            Field::Gid => return Err("gid is a number; a name is called group".into()),
            _ => {}
        }
        if let Some(what) = glob::fault(text) {
            return Err(what.into());
        }
        match self.misfit(text) {
            Some(what) => Err(format!("'{}' {what}", text.escape_debug()).into()),
            None if self.0 == Field::Sha256
                && text.bytes().any(|byte| byte.is_ascii_uppercase()) =>
            {
                Ok(text.to_ascii_lowercase().into())
            }
            None => Ok(text.into()),
        }
    }

    /// Why nothing can ever match the pattern, as far as that can be told.
    #[inline]
    fn misfit(self, text: &str) -> Option<&'static str> {
        let is_none = |is_word: fn(&[u8]) -> bool| !is_word(text.as_bytes()) && is_literal(text);
        let what = match self.0 {
            Field::KeyType if is_none(|word| KeyType::parse(word).is_ok()) => {
                "is no key type: it takes user, logon, big_key and asymmetric"
            }
            Field::What if is_none(|word| What::parse(word).is_ok()) => {
                "is nothing that a key can be: it takes 1 to 1024, rsa2048, rsa3072, rsa4096, \
                 p256, p384 and ed25519"
            }
            Field::Identity if is_none(|word| Kind::from_word(word).is_some()) => {
                "is no identity: it takes path, csum, id, cgroup and verity"
            }
            Field::Exe if !text.starts_with(['/', '*']) => "is no absolute path",
            Field::Unit if text.contains('/') => "is a path: a unit is called as in nginx.service",
            Field::Unit if is_none(super::is_unit) => {
                "is no unit that processes are in: such names end in .service, .scope, .socket, \
                 .mount or .swap"
            }
            Field::Package if text.contains(':') => {
                "is no package's name: it takes dpkg's or RPM's, without an architecture"
            }
            Field::Sha256 if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                "is no SHA-256: it takes 64 hexadecimal digits"
            }
            _ => return None,
        };
        Some(what)
    }
}
