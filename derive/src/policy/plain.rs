// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files as nearly everybody writes them, read in a fraction of the time.
//!
//! Each request reads the policy anew, in a process of its own, and a general reader
//! of TOML takes longer for a thousand rules than all the rest of the request. Plain is
//! a file whose every line is one of
//!
//! ```text
//! [[rule]]
//! key = value
//! # a comment, which may also stand behind the others
//! ```
//!
//! where a value is a string without `\`, a number in decimal or hexadecimal digits,
//! `true`, `false`, or a list of strings and numbers. What they mean is decided where it
//! is for every file ([`Rule`]'s `Deserialize`). Whatever is not plain, or is wrong, is left
//! to the general reader, which also says what is wrong.

use serde::Deserialize;
use serde::de::value::{Error, MapAccessDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, MapAccess, Visitor};

use super::parse::File;
use super::rule::{Action, Rule};

/// Reads a plain file; nothing if it is another.
pub(super) fn plain(text: &str) -> Option<File> {
    let mut file = File::default();
    let mut lines = Lines { text, number: 0 };
    loop {
        match lines.next()? {
            Line::End => return Some(file),
            Line::Rule => break,
            Line::Pair { key, value } => {
                if key != "default" || file.default.is_some() {
                    return None;
                }
                // Where the value begins.
                let place = value.text.as_ptr().addr() - text.as_ptr().addr();
                file.default = Some((place, Action::deserialize(value).ok()?));
            }
        }
    }
    loop {
        let line = lines.number;
        let mut pairs = Pairs {
            lines: &mut lines,
            keys: 0,
            given: [""; MOST_KEYS],
            value: None,
            another: false,
        };
        let rule = Rule::deserialize(MapAccessDeserializer::new(&mut pairs)).ok()?;
        let another = pairs.another;
        file.rules.push((line, rule));
        if !another {
            return Some(file);
        }
    }
}

/// A rule has no more keys than this.
const MOST_KEYS: usize = 32;

enum Line<'a> {
    Rule,
    Pair { key: &'a str, value: Value<'a> },
    End,
}

/// The lines that say something.
struct Lines<'a> {
    /// What is left.
    text: &'a str,
    /// The last line's number, from 1 on.
    number: usize,
}

impl<'a> Lines<'a> {
    /// The next one; nothing if it is not plain.
    fn next(&mut self) -> Option<Line<'a>> {
        while !self.text.is_empty() {
            let (line, rest) = cut(self.text, b'\n').unwrap_or((self.text, ""));
            self.text = rest;
            self.number += 1;
            let line = blank(line);
            if let Some(rest) = line.strip_prefix("[[rule]]") {
                return is_end(rest).then_some(Line::Rule);
            }
            if !is_end(line) {
                return pair(line);
            }
        }
        Some(Line::End)
    }
}

/// What is before and after the first of an ASCII character.
fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let place = memchr::memchr(at, text.as_bytes())?;
    Some((&text[..place], &text[place + 1..]))
}

fn pair(line: &str) -> Option<Line<'_>> {
    let is_key = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    let length = line.bytes().take_while(|byte| is_key(byte)).count();
    let (key, rest) = line.split_at(length);
    let text = blank(blank(rest).strip_prefix('=')?);
    let (value, rest) = Value::plain(text)?;
    (!key.is_empty() && is_end(rest)).then_some(Line::Pair { key, value })
}

/// Without the blanks that it begins with.
fn blank(text: &str) -> &str {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let length = text.bytes().take_while(is_blank).count();
    &text[length..]
}

/// Whether it may stand in comments and strings.
fn is_text(text: &str) -> bool {
    let is_control = |byte: u8| byte.is_ascii_control() && byte != b'\t';
    !text.bytes().any(is_control)
}

/// Whether the rest of a line says nothing.
fn is_end(rest: &str) -> bool {
    let rest = blank(rest);
    rest.is_empty() || rest.starts_with('#') && is_text(rest)
}

/// A value as it is written.
#[derive(Clone, Copy)]
struct Value<'a> {
    /// From here on.
    text: &'a str,
    is: Is<'a>,
}

#[derive(Clone, Copy)]
enum Is<'a> {
    Text(&'a str),
    Number(i64),
    Flag(bool),
    /// What is between the brackets, and known to be plain.
    List(&'a str),
}

impl<'a> Value<'a> {
    /// The value at the beginning of a text, and what follows it.
    fn plain(text: &'a str) -> Option<(Self, &'a str)> {
        let Some(list) = text.strip_prefix('[') else {
            return Self::single(text);
        };
        let mut rest = blank(list);
        while !rest.starts_with(']') {
            let (_, after) = Self::single(rest)?;
            rest = blank(after);
            match rest.strip_prefix(',') {
                Some(after) => rest = blank(after),
                None if rest.starts_with(']') => {}
                None => return None,
            }
        }
        let is = Is::List(&list[..list.len() - rest.len()]);
        Some((Self { text, is }, &rest[1..]))
    }

    fn single(text: &'a str) -> Option<(Self, &'a str)> {
        let quote = *text.as_bytes().first()?;
        let (is, rest) = if matches!(quote, b'"' | b'\'') {
            let (string, rest) = cut(&text[1..], quote)?;
            if string.as_bytes().contains(&b'\\') || !is_text(string) {
                return None;
            }
            (Is::Text(string), rest)
        } else {
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric();
            let length = text.bytes().take_while(is_word).count();
            let (word, rest) = text.split_at(length);
            // 1.5, 1_000 and 1979-05-27 are something else.
            if rest.starts_with(['.', '_', '-', '+', ':']) {
                return None;
            }
            (Self::word(word)?, rest)
        };
        Some((Self { text, is }, rest))
    }

    fn word(word: &str) -> Option<Is<'a>> {
        if let Some(digits) = word.strip_prefix("0x") {
            return i64::from_str_radix(digits, 16).ok().map(Is::Number);
        }
        match word {
            "true" => Some(Is::Flag(true)),
            "false" => Some(Is::Flag(false)),
            "0" => Some(Is::Number(0)),
            _ if word.starts_with('0') => None,
            _ => word.parse().ok().map(Is::Number),
        }
    }
}

/// The single values of a list that is known to be plain.
struct Items<'a>(&'a str);

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let (value, rest) = Value::single(self.0.trim_start_matches([' ', '\t', ',']))?;
        self.0 = rest;
        Some(value)
    }
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.is {
            Is::Text(text) => visitor.visit_str(text),
            Is::Number(number) => visitor.visit_i64(number),
            Is::Flag(flag) => visitor.visit_bool(flag),
            Is::List(list) => visitor.visit_seq(SeqDeserializer::new(Items(list))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.is {
            Is::Text(text) => {
                let text: StrDeserializer<'_, Error> = text.into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            _ => Err(de::Error::custom("not a word")),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_> for Value<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The lines of a rule.
struct Pairs<'p, 'a> {
    lines: &'p mut Lines<'a>,
    /// How many keys there were, and which.
    keys: usize,
    given: [&'a str; MOST_KEYS],
    value: Option<Value<'a>>,
    /// Whether another rule follows.
    another: bool,
}

impl<'de> MapAccess<'de> for &mut Pairs<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let wrong = || <Error as de::Error>::custom("not plain");
        match self.lines.next().ok_or_else(wrong)? {
            Line::End => Ok(None),
            Line::Rule => {
                self.another = true;
                Ok(None)
            }
            Line::Pair { key, value } => {
                if self.keys == MOST_KEYS || self.given[..self.keys].contains(&key) {
                    return Err(wrong());
                }
                self.given[self.keys] = key;
                self.keys += 1;
                self.value = Some(value);
                let key: StrDeserializer<'_, Error> = key.into_deserializer();
                seed.deserialize(key).map(Some)
            }
        }
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let wrong = || <Error as de::Error>::custom("no value");
        seed.deserialize(self.value.take().ok_or_else(wrong)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::whole;
    use super::*;

    const LINES: &[&str] = &[
        "  [[rule]] # x",
        "action = 'deny'",
        "uid = 7",
        "uid = [7, 9]",
        "key_id=\"tls:*\"",
        "key_id = [\"a\", 'b', ] # c",
        "permissions = 0x3f3f0000",
        "scope_any = true",
        "name = \"é # no comment\"",
        "what = [32, \"rsa2048\"]",
        "what = []",
        "# comment",
        "",
        "\texe = '/bin/*'",
    ];

    #[rustfmt::skip]
    const PIECES: &[&str] = &[
        "default", "name", "action", "key_id", "uid", "exe", "what", "permissions", "scope_any",
        "timeout_seconds", "sha256", "=", " = ", "\"allow\"", "'deny'", "\"deny\"", "\"tls:*\"",
        "'a # b'", r#""\u0041""#, "\"\"\"", "'''", "\"", "'", r#""é\\""#, "0", "7", "007", "-1", "+1",
        "1_0", "1.5", "1e3", "0x3f", "0X3F", "0x", "0x-1", "0o7", "true", "false", "[", "]", ",",
        ", ", "[7, 9]", "['a', \"b\",]", "[]", "[,]", "[1 2]", "[1,,2]", "[[1]]", "{", "}", "[rule]",
        "1979-05-27", "1979-05-27 07:32:00", "99999999999999999999", "0xffffffffffffffff", " ",
        "\t", "# x", "#", "\n", "\r\n", "\r", "\0", "\u{7f}", "\u{feff}", "\u{a0}", "[[rule]]",
        "[[ rule ]]", "\n[[rule]]\n", "a.b", "\"uid\"", "-", ".",
    ];

    #[test]
    fn a_plain_file_means_the_same_to_the_general_reader() {
        // Any numbers do that are always the same.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut below = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % limit
        };
        let (mut read, mut left) = (0, 0);
        for _ in 0..20_000 {
            let mut text = String::new();
            if below(2) == 0 {
                text.push_str("default = \"deny\"\n");
            }
            for _ in 0..below(4) {
                text.push_str("[[rule]]\naction = \"allow\"\n");
                for _ in 0..below(4) {
                    text.push_str(LINES[below(LINES.len())]);
                    text.push('\n');
                }
            }
            for _ in 0..below(3) {
                let mut place = below(text.len() + 1);
                while !text.is_char_boundary(place) {
                    place -= 1;
                }
                text.insert_str(place, PIECES[below(PIECES.len())]);
            }
            if let Some(file) = plain(&text) {
                assert_eq!(Ok(file), whole(&text), "{text:?}");
                read += 1;
            } else {
                left += 1;
            }
        }
        assert!(read > 4_000 && left > 4_000, "{read} {left}");
    }

    #[test]
    fn what_everybody_writes_is_plain() {
        let text = "# for all\ndefault = \"deny\"\n\n[[rule]]\nname = \"web\"  # ours\n\
                    action = \"allow\"\nuid = [33, 34]\npermissions = 0x3f010000\n\
                    scope_any = true\n\n[[rule]]\naction = 'deny'\n";
        let file = plain(text).unwrap();
        assert_eq!(file.rules.len(), 2);
        assert_eq!(file, whole(text).unwrap());
    }
}
