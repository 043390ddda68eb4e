// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Patterns, as a policy writes them.
//!
//! `?` is one byte, `*` any number of them, `\` takes the next character as it is.
//! In patterns of paths, as AppArmor has it, neither stands for a `/`; `**` does.

use std::borrow::Cow;
use std::fmt;

/// A pattern that bytes match as a whole, or don't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob<'a> {
    /// As it was written.
    pub(super) text: Cow<'a, str>,
    /// Whether it is about paths.
    pub(super) paths: NoSlash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// One byte; not a `/` if it says so.
    One(NoSlash),
    /// Any number of them.
    Many(NoSlash),
}

type NoSlash = bool;

/// Whether a byte of a pattern does not stand for itself.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'*' | b'?' | b'\\')
}

/// Whether all bytes of a pattern stand for themselves.
pub(super) fn is_literal(pattern: &str) -> bool {
    !pattern.bytes().any(is_special)
}

/// What is wrong with a pattern.
#[inline]
pub(super) fn fault(pattern: &str) -> Option<&'static str> {
    if pattern.is_empty() {
        return Some("an empty pattern matches nothing");
    }
    let last = pattern.bytes().rev().take_while(|byte| *byte == b'\\');
    (last.count() % 2 == 1).then_some("a \\ at the end of a pattern stands before nothing")
}

/// What a pattern, or the end of one, is made of; nothing if that ends too early.
fn tokens(pattern: &[u8], paths: NoSlash) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut bytes = pattern.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        tokens.push(match byte {
            b'*' if bytes.next_if_eq(&b'*').is_some() => Token::Many(false),
            b'*' => Token::Many(paths),
            b'?' => Token::One(paths),
            b'\\' => Token::Byte(bytes.next()?),
            byte => Token::Byte(byte),
        });
    }
    Some(tokens)
}

impl<'a> Glob<'a> {
    /// A pattern in which `*` and `?` stand for every byte.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, &'static str> {
        Self::parse(text.into(), false)
    }

    /// A pattern of paths.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn of_paths(text: impl Into<Cow<'a, str>>) -> Result<Self, &'static str> {
        Self::parse(text.into(), true)
    }

    fn parse(text: Cow<'a, str>, paths: NoSlash) -> Result<Self, &'static str> {
        match fault(&text) {
            None => Ok(Self { text, paths }),
            Some(what) => Err(what),
        }
    }

    /// The same, with a text of its own.
    pub fn into_owned(self) -> Glob<'static> {
        Glob {
            text: self.text.into_owned().into(),
            paths: self.paths,
        }
    }

    /// Whether the bytes match. The time is at most their number times the
    /// pattern's, whatever they are: they may be an asker's.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let pattern = self.text.as_bytes();
        let pairs = pattern.iter().zip(bytes);
        let same = pairs.take_while(|(wanted, byte)| wanted == byte && !is_special(**wanted));
        let same = same.count();
        let (pattern, bytes) = (&pattern[same..], &bytes[same..]);
        // Nearly all patterns end here, and need no further look.
        match pattern {
            [] => return bytes.is_empty(),
            b"*" => return !(self.paths && bytes.contains(&b'/')),
            b"**" => return true,
            [wanted, ..] if !is_special(*wanted) => return false,
            _ => {}
        }
        let tokens = tokens(pattern, self.paths).unwrap_or_default();
        // reached[n]: the first n tokens match what has been read.
        let mut reached = vec![false; tokens.len() + 1];
        reached[0] = true;
        skip_many(&tokens, &mut reached);
        for &byte in bytes {
            // Backwards, so that what is looked at is from before this byte.
            for n in (0..tokens.len()).rev() {
                let takes = match tokens[n] {
                    Token::Byte(wanted) => wanted == byte,
                    Token::One(no_slash) | Token::Many(no_slash) => !(no_slash && byte == b'/'),
                };
                let stays = matches!(tokens[n], Token::Many(_));
                // Token n has taken this byte, as its first or one more.
                let first = reached[n] && takes;
                let more = stays && reached[n + 1] && takes;
                reached[n + 1] = first || more;
            }
            reached[0] = false;
            skip_many(&tokens, &mut reached);
        }
        reached[tokens.len()]
    }
}

/// Any number of bytes may be none.
fn skip_many(tokens: &[Token], reached: &mut [bool]) {
    for (n, token) in tokens.iter().enumerate() {
        if matches!(token, Token::Many(_)) && reached[n] {
            reached[n + 1] = true;
        }
    }
}

/// As it was written.
impl fmt::Display for Glob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern).unwrap().matches(text.as_bytes())
    }

    #[test]
    fn the_whole_and_nothing_else() {
        assert!(matches("disk", "disk"));
        for other in ["", "dis", "disks", "Disk", "adisk"] {
            assert!(!matches("disk", other), "{other}");
        }
    }

    #[test]
    fn wildcards() {
        for (pattern, yes, no) in [
            ("*", &["", "a", "a/b", "\n"][..], &[][..]),
            ("disk:*", &["disk:", "disk:a/b"], &["disk", "xdisk:"]),
            ("*.service", &[".service", "a.service"], &["a.services"]),
            (
                "a*b*c",
                &["abc", "aXbXbXc", "abbcc"],
                &["ab", "acb", "abcd"],
            ),
            ("a?c", &["abc", "a/c"], &["ac", "abbc"]),
            ("??*", &["ab", "abc"], &["", "a"]),
            (r"a\*b\\", &[r"a*b\"], &["axb\\", "ab\\"]),
            ("*aab", &["aaab", "aab"], &["aaba"]),
        ] {
            for text in yes {
                assert!(matches(pattern, text), "{pattern} {text:?}");
            }
            for text in no {
                assert!(!matches(pattern, text), "{pattern} {text:?}");
            }
        }
        assert!(Glob::new("a*").unwrap().matches(b"a\xff\xfe"));
    }

    #[test]
    fn paths_go_down_by_two_stars() {
        let matches = |pattern, text: &str| {
            let glob = Glob::of_paths(pattern).unwrap();
            glob.matches(text.as_bytes())
        };
        assert!(matches("/opt/*/run", "/opt/a/run"));
        assert!(!matches("/opt/*/run", "/opt/a/b/run"));
        assert!(!matches("/opt/*", "/opt/a/b"));
        assert!(!matches("/opt?a", "/opt/a"));
        assert!(matches("/opt/**", "/opt/a/b"));
        assert!(matches("/opt/**/run", "/opt/a/b/run"));
        assert!(!matches("/opt/**", "/usr/a"));
        assert!(matches("**", "/a/b"));
        assert!(!matches("*", "/a"));
    }

    #[test]
    fn patterns_that_are_none() {
        Glob::new("").unwrap_err();
        Glob::new("a\\").unwrap_err();
        assert!(!is_literal("a*") && !is_literal(r"a\*") && is_literal("a"));
    }

    /// The definition, as slow as it may be.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', b'*', rest @ ..], _) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
            ([b'*', rest @ ..], _) => {
                let run = text.iter().take_while(|byte| **byte != b'/').count();
                (0..=run).any(|n| naive(rest, &text[n..]))
            }
            ([b'?', rest @ ..], [byte, text @ ..]) => *byte != b'/' && naive(rest, text),
            ([wanted, rest @ ..], [byte, text @ ..]) => wanted == byte && naive(rest, text),
            _ => false,
        }
    }

    #[test]
    fn as_the_definition_says() {
        let strings = |alphabet: &'static [u8], most: u32| {
            (0..=most).flat_map(move |length| {
                (0..alphabet.len().pow(length)).map(move |mut number| {
                    let digit = |_| {
                        let byte = alphabet[number % alphabet.len()];
                        number /= alphabet.len();
                        byte
                    };
                    (0..length).map(digit).collect::<Vec<u8>>()
                })
            })
        };
        for pattern in strings(b"a/*?", 5).skip(1) {
            let text = String::from_utf8(pattern.clone()).unwrap();
            let glob = Glob::of_paths(text.as_str()).unwrap();
            for text in strings(b"a/", 5) {
                assert_eq!(
                    glob.matches(&text),
                    naive(&pattern, &text),
                    "{} {}",
                    pattern.escape_ascii(),
                    text.escape_ascii()
                );
            }
        }
    }
}
