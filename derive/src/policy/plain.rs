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
//! where a value is a string, a number in decimal or hexadecimal digits,
//! `true`, `false`, or a list of strings and numbers, and there is no `\` anywhere. What they mean is decided where it
//! is for every file: by `parse` and `pattern`. Whatever is not plain, or is wrong, is left
//! to the general reader, which also says what is wrong.

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use super::lines::{Is, Line, Lines, Value};
use super::parse::{File, Key, Number, Says};
use super::pattern::Pattern;
use super::rules::{Draft, Part};

/// Reads a plain file; nothing if it is another.
pub(super) fn plain(text: &str) -> Option<File> {
    let mut lines = Lines::of(text)?;
    // Where there are no lists, a rule has two of the one, and patterns and an action of the other.
    let count = |byte| memchr::memchr_iter(byte, text.as_bytes()).count();
    let rules = count(b'[') / 2;
    let patterns = count(b'=').saturating_sub(rules);
    let mut file = File {
        default: None,
        rules: Draft::new(text.len(), rules, patterns),
    };
    loop {
        match lines.next()? {
            Line::End => return Some(file),
            Line::Rule => break,
            Line::Pair { key, value } => {
                if key != b"default" || file.default.is_some() {
                    return None;
                }
                file.default = Some((value.at, value.word()?));
            }
        }
    }
    while read(&mut lines, &mut file.rules)? {}
    Some(file)
}

/// Reads a rule whose first line has been read; says whether another follows.
fn read(lines: &mut Lines<'_>, rules: &mut Draft) -> Option<bool> {
    let line = lines.number;
    let (mut says, mut name, mut given) = (Says::default(), None, 0);
    let another = loop {
        match lines.next()? {
            Line::End => break false,
            Line::Rule => break true,
            Line::Pair { key, value } => {
                let key = Key::of_name(key)?;
                if given & key.bit() != 0 {
                    return None;
                }
                given |= key.bit();
                says.grants |= key.is_grant();
                put(key, value, &mut says, &mut name, rules)?;
            }
        }
    };
    rules.end_rule(line, name, says.whole().ok()?);
    Some(another)
}

#[inline]
fn put(
    key: Key,
    value: Value<'_>,
    says: &mut Says,
    name: &mut Option<Part>,
    rules: &mut Draft,
) -> Option<()> {
    let grant = &mut says.grant;
    match (key, value.is) {
        (Key::Name, Is::Text { text, .. }) => *name = Some(Draft::written(value.at + 1, text)),
        (Key::Action, _) => says.action = Some(value.word()?),
        (Key::Field(field), Is::List(items)) => {
            let mut is_empty = true;
            for value in items.each() {
                value.pattern(Pattern(field), rules)?;
                is_empty = false;
            }
            if is_empty {
                return None;
            }
        }
        (Key::Field(field), _) => value.pattern(Pattern(field), rules)?,
        (Key::Permissions, Is::Number(number)) => {
            grant.permissions = Some(Number::PERMISSIONS.check(number).ok()?);
        }
        (Key::TimeoutSeconds, Is::Number(number)) => {
            grant.timeout_seconds = Some(Number::SECONDS.check(number).ok()?);
        }
        (Key::MinimumGeneration, Is::Number(number)) => {
            grant.minimum_generation = Number::GENERATION.check(number).ok()?;
        }
        (Key::ScopeAny, Is::Flag(flag)) => grant.scope_any = flag,
        (Key::Tolerate, Is::List(items)) => {
            for word in items.each() {
                grant.tolerate.add(word.word()?);
            }
        }
        _ => return None,
    }
    Some(())
}

impl<'a> Value<'a> {
    /// What it is one word of a few for.
    fn word<T: Deserialize<'a>>(self) -> Option<T> {
        let Is::Text { text, .. } = self.is else {
            return None;
        };
        let word: StrDeserializer<'_, Error> = text.into_deserializer();
        T::deserialize(word).ok()
    }

    /// Adds the pattern that it is to the rule that is being read.
    #[inline]
    fn pattern(self, pattern: Pattern, rules: &mut Draft) -> Option<()> {
        let glob = match self.is {
            Is::Text { text, plain } => pattern.of_text(text, plain).ok()?,
            Is::Number(number) if pattern.is_number() => pattern.of_number(number).ok()?,
            _ => return None,
        };
        rules.may_be(pattern.0, &glob, self.at + 1);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::whole;
    use super::super::rule::Action;
    use super::super::rules::Rules;
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

    /// What a file says.
    fn all(text: &str, file: File) -> (Option<(usize, Action)>, Rules) {
        (file.default, file.rules.of(text.into()))
    }

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
                assert_eq!(
                    Ok(all(&text, file)),
                    whole(&text).map(|file| all(&text, file)),
                    "{text:?}"
                );
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
        let (default, rules) = all(text, file);
        assert_eq!(rules.len(), 2);
        assert_eq!((default, rules), all(text, whole(text).unwrap()));
    }
}
