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
    /// So many bytes of it, from the first, stand for themselves.
    pub(super) plain: usize,
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

/// How many bytes of a pattern, from the first, stand for themselves.
pub(super) fn plain(pattern: &str) -> usize {
    let is_special = |byte| matches!(byte, b'*' | b'?' | b'\\');
    let special = pattern.bytes().position(is_special);
    special.unwrap_or(pattern.len())
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
        let plain = plain(&text);
        Self::checked(text, plain, paths)
    }

    /// A pattern of which so many bytes are known to stand for themselves.
    #[inline]
    pub(super) fn checked(
        text: Cow<'a, str>,
        plain: usize,
        paths: NoSlash,
    ) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("an empty pattern matches nothing");
        }
        let glob = Self { text, plain, paths };
        if glob.text.ends_with('\\') && glob.tokens().is_none() {
            return Err("a \\ at the end of a pattern stands before nothing");
        }
        Ok(glob)
    }

    /// The same, with a text of its own.
    pub fn into_owned(self) -> Glob<'static> {
        Glob {
            text: self.text.into_owned().into(),
            plain: self.plain,
            paths: self.paths,
        }
    }

    /// What comes after the plain bytes; nothing if that ends too early.
    fn tokens(&self) -> Option<Vec<Token>> {
        let mut tokens = Vec::new();
        let mut bytes = self.text.as_bytes()[self.plain..]
            .iter()
            .copied()
            .peekable();
        while let Some(byte) = bytes.next() {
            tokens.push(match byte {
                b'*' if bytes.next_if_eq(&b'*').is_some() => Token::Many(false),
                b'*' => Token::Many(self.paths),
                b'?' => Token::One(self.paths),
                b'\\' => Token::Byte(bytes.next()?),
                byte => Token::Byte(byte),
            });
        }
        Some(tokens)
    }

    /// The pattern, if it has no characters that stand for others.
    pub(super) fn as_literal(&self) -> Option<&[u8]> {
        (self.plain == self.text.len()).then_some(self.text.as_bytes())
    }

    /// Whether the bytes match. The time is at most their number times the
    /// pattern's, whatever they are: they may be an asker's.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let plain = &self.text.as_bytes()[..self.plain];
        let Some(bytes) = bytes.strip_prefix(plain) else {
            return false;
        };
        // Nearly all patterns end here, and need no further look.
        match &self.text.as_bytes()[self.plain..] {
            [] => return bytes.is_empty(),
            b"*" => return !(self.paths && bytes.contains(&b'/')),
            b"**" => return true,
            _ => {}
        }
        let tokens = self.tokens().unwrap_or_default();
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
        assert_eq!(Glob::new("a*").unwrap().as_literal(), None);
        assert_eq!(Glob::new(r"a\*").unwrap().as_literal(), None);
        assert_eq!(Glob::new("a").unwrap().as_literal(), Some(&b"a"[..]));
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
