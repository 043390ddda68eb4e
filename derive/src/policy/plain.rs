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
//! `true`, `false`, or a list of strings and numbers in the same line, and there is no `\` anywhere.
//! What they mean is decided where it is for every file: by `parse` and `pattern`. Whatever is not
//! plain, or is wrong, is left to the general reader, which also says what is wrong.
//!
//! It is read through a small buffer: each page of memory that the text took would cost the asker
//! microseconds.

use std::io;

use super::facts::{Facts, Field};
use super::lines::Rest;
use super::parse::{Key, Number, Read, Says};
use super::pattern::Pattern;
use super::rule::Action;
use super::rules::Draft;

/// Reads a plain file through a buffer, in which each of its lines has to have room; nothing if it
/// is another.
pub(super) fn plain(
    mut file: impl io::Read,
    buffer: &mut [u8],
    facts: Option<&Facts>,
) -> Option<Read> {
    let mut reader = Reader {
        default: None,
        rules: Draft::new(facts),
        rule: None,
        line: 0,
    };
    let mut filled = 0;
    loop {
        let more = file.read(&mut buffer[filled..]).ok()?;
        filled += more;
        let whole = if more == 0 {
            filled
        } else {
            memchr::memrchr(b'\n', &buffer[..filled]).map_or(0, |newline| newline + 1)
        };
        reader.read(std::str::from_utf8(&buffer[..whole]).ok()?)?;
        if more == 0 {
            return reader.end();
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        if filled == buffer.len() {
            return None;
        }
    }
}

/// What has been read so far.
struct Reader<'a> {
    default: Option<Action>,
    rules: Draft<'a>,
    /// The last one, which may go on.
    rule: Option<Rule>,
    /// The last line's number.
    line: usize,
}

/// A rule of which some lines have been read.
struct Rule {
    line: usize,
    says: Says,
    /// The bits of the keys.
    given: u32,
}

impl Reader<'_> {
    /// Reads some whole lines.
    fn read(&mut self, lines: &str) -> Option<()> {
        let mut rest = Rest::of(lines);
        while !rest.is_empty() {
            self.line += 1;
            rest.skip_blanks();
            match rest.byte() {
                None | Some(b'\n' | b'#') => {}
                Some(b'[') => {
                    rest.rule()?;
                    self.end_rule()?;
                    self.rule = Some(Rule {
                        line: self.line,
                        says: Says::default(),
                        given: 0,
                    });
                }
                Some(_) => self.read_pair(&mut rest)?,
            }
            rest.end_line()?;
        }
        Some(())
    }

    #[inline]
    fn read_pair(&mut self, rest: &mut Rest<'_>) -> Option<()> {
        let key = rest.key()?;
        let Some(rule) = &mut self.rule else {
            if key != b"default" || self.default.is_some() {
                return None;
            }
            self.default = Some(rest.word()?);
            return Some(());
        };
        let key = Key::of_name(key)?;
        if rule.given & key.bit() != 0 {
            return None;
        }
        rule.given |= key.bit();
        rule.says.grants |= key.is_grant();
        read_value(key, rest, &mut rule.says, &mut self.rules)
    }

    fn end_rule(&mut self) -> Option<()> {
        if let Some(rule) = self.rule.take() {
            self.rules.end_rule(rule.line, rule.says.whole().ok()?);
        }
        Some(())
    }

    fn end(mut self) -> Option<Read> {
        self.end_rule()?;
        Some(Read {
            default: self.default,
            rules: self.rules.rules(),
        })
    }
}

/// Reads what a rule says under a key.
#[inline]
fn read_value(key: Key, rest: &mut Rest<'_>, says: &mut Says, rules: &mut Draft<'_>) -> Option<()> {
    let grant = &mut says.grant;
    match key {
        Key::Name => rules.name(rest.string()?),
        Key::Action => says.action = Some(rest.word()?),
        Key::Field(field) => read_condition(field, rest, rules)?,
        Key::Permissions => {
            grant.permissions = Some(Number::PERMISSIONS.check(rest.number()?).ok()?);
        }
        Key::TimeoutSeconds => {
            grant.timeout_seconds = Some(Number::SECONDS.check(rest.number()?).ok()?);
        }
        Key::MinimumGeneration => {
            grant.minimum_generation = Number::GENERATION.check(rest.number()?).ok()?;
        }
        Key::ScopeAny => grant.scope_any = rest.flag()?,
        Key::Tolerate => rest.list(|rest| {
            grant.tolerate.add(rest.word()?);
            Some(())
        })?,
    }
    Some(())
}

/// Reads what a field may be: one pattern, or a list that is not empty.
#[inline]
fn read_condition(field: Field, rest: &mut Rest<'_>, rules: &mut Draft<'_>) -> Option<()> {
    if rest.byte()? == b'[' {
        let mut is_empty = true;
        rest.list(|rest| {
            is_empty = false;
            read_pattern(field, rest, rules)
        })?;
        if is_empty {
            return None;
        }
    } else {
        read_pattern(field, rest, rules)?;
    }
    rules.end_condition();
    Some(())
}

#[inline]
fn read_pattern(field: Field, rest: &mut Rest<'_>, rules: &mut Draft<'_>) -> Option<()> {
    let pattern = Pattern(field);
    if pattern.is_number() && rest.byte()?.is_ascii_digit() {
        rules.may_be(field, &pattern.of_number(rest.number()?).ok()?);
    } else {
        rules.may_be(field, &pattern.of_text(rest.string()?).ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
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
        let facts = Facts::of_strings(b"user", b"tpm2:derived:tls:x");
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
            // Most of it does not fit into the buffer at once.
            let Some(file) = plain(text.as_bytes(), &mut [0; 80], None) else {
                left += 1;
                continue;
            };
            read += 1;
            assert_eq!(Ok(file), parse(&text, true, None), "{text:?}");
            let file = plain(text.as_bytes(), &mut [0; 80], Some(&facts)).unwrap();
            assert_eq!(Ok(file), parse(&text, true, Some(&facts)), "{text:?}");
        }
        assert!(read > 4_000 && left > 4_000, "{read} {left}");
    }

    #[test]
    fn what_everybody_writes_is_plain() {
        let text = "# for all\ndefault = \"deny\"\n\n[[rule]]\nname = \"web\"  # ours\n\
                    action = \"allow\"\nuid = [33, 34]\npermissions = 0x3f010000\n\
                    scope_any = true\n\n[[rule]]\naction = 'deny'\n";
        let file = plain(text.as_bytes(), &mut [0; 80], None).unwrap();
        assert_eq!(file.rules.all.count, 2);
        assert_eq!(Ok(file), parse(text, true, None));
        let last_line = text.trim_end();
        assert_eq!(
            plain(last_line.as_bytes(), &mut [0; 80], None),
            plain(text.as_bytes(), &mut [0; 80], None)
        );
    }

    #[test]
    fn what_does_not_fit_or_is_no_text_is_not_plain() {
        let read = |text: &[u8]| plain(text, &mut [0; 16], None);
        for text in [
            &b"# 3456789012345\n"[..],
            b"#\n# 3456789012345\n",
            b"# 345678901234",
            "# \u{e9}\u{e9}\u{e9}\u{e9}\n# \u{e9}\n".as_bytes(),
        ] {
            assert!(read(text).is_some(), "{}", text.escape_ascii());
        }
        for text in [
            &b"# 345678901234567\n"[..],
            b"# 34567890123456",
            b"#\n# \xff\n",
            b"#\n# \xc3",
        ] {
            assert!(read(text).is_none(), "{}", text.escape_ascii());
        }
    }
}
