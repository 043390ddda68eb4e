// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The lines of a plain file, and the values on them, each looked at once.

/// What a rule begins with.
const RULE: &[u8] = b"[[rule]]";

pub(super) enum Line<'a> {
    Rule,
    Pair { key: &'a [u8], value: Value<'a> },
    End,
}

/// The lines that say something.
pub(super) struct Lines<'a> {
    place: Cursor<'a>,
    /// The last line's number, from 1 on.
    pub(super) number: usize,
}

impl<'a> Lines<'a> {
    /// Those of a text; nothing if there is something in it that stands in no plain file.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        // All bytes, without leaving early: so the compiler looks at many at once.
        let is_odd = |byte| matches!(byte, 0..=8 | 11..=31 | 127 | b'\\');
        let odd = text.bytes().fold(false, |odd, byte| odd | is_odd(byte));
        let rest = text.as_bytes();
        let place = Cursor { text, rest };
        (!odd).then_some(Self { place, number: 0 })
    }

    /// The next one; nothing if it is not plain.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Line<'a>> {
        let place = &mut self.place;
        loop {
            self.number += 1;
            place.skip_blanks();
            match place.byte() {
                None => return Some(Line::End),
                Some(b'\n') => place.skip_byte(),
                Some(b'#') => place.end_line()?,
                Some(b'[') => {
                    place.skip(RULE)?;
                    place.end_line()?;
                    return Some(Line::Rule);
                }
                Some(_) => {
                    let key = place.until(NO_NAME);
                    place.skip_blanks();
                    place.skip(b"=")?;
                    place.skip_blanks();
                    let value = place.value()?;
                    place.end_line()?;
                    return Some(Line::Pair { key, value });
                }
            }
        }
    }
}

/// A place in a text.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    text: &'a str,
    /// What is not read yet.
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Where it is, in bytes.
    #[inline]
    fn at(self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// The byte that is next.
    #[inline]
    fn byte(self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    fn skip_byte(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Nothing if it is not what is next.
    #[inline]
    fn skip(&mut self, what: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(what)?;
        Some(())
    }

    /// As far as no byte is of these classes.
    #[inline]
    fn until(&mut self, classes: u8) -> &'a [u8] {
        let length = self.rest.iter().position(|byte| is(*byte, classes));
        let (part, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        self.rest = rest;
        part
    }

    /// Behind the end of a line on which nothing more is said.
    #[inline]
    fn end_line(&mut self) -> Option<()> {
        self.skip_blanks();
        if self.byte() == Some(b'#') {
            self.until(NEWLINE);
        }
        let byte = self.byte();
        self.skip_byte();
        matches!(byte, None | Some(b'\n')).then_some(())
    }

    #[inline]
    fn value(&mut self) -> Option<Value<'a>> {
        if self.byte()? == b'[' {
            self.list()
        } else {
            self.single()
        }
    }

    fn list(&mut self) -> Option<Value<'a>> {
        let at = self.at();
        self.skip_byte();
        let items = Items(*self);
        loop {
            self.skip_blanks();
            if self.byte()? == b']' {
                break;
            }
            self.single()?;
            self.skip_blanks();
            match self.byte()? {
                b',' => self.skip_byte(),
                b']' => break,
                _ => return None,
            }
        }
        self.skip_byte();
        let is = Is::List(items);
        Some(Value { at, is })
    }

    #[inline]
    fn single(&mut self) -> Option<Value<'a>> {
        let at = self.at();
        let quote = match self.byte()? {
            b'"' => DOUBLE,
            b'\'' => SINGLE,
            _ => return self.word(),
        };
        self.skip_byte();
        let plain = self.until(quote | WILD | NEWLINE).len();
        self.until(quote | NEWLINE);
        let text = &self.text[at + 1..self.at()];
        if !is(self.byte()?, quote) {
            return None;
        }
        self.skip_byte();
        let is = Is::Text { text, plain };
        Some(Value { at, is })
    }

    /// What is neither a string nor a list.
    fn word(&mut self) -> Option<Value<'a>> {
        let at = self.at();
        let is = Is::of_word(std::str::from_utf8(self.until(NO_WORD)).ok()?)?;
        // 1.5, 1_000 and 1979-05-27 are something else.
        let is_whole = !matches!(self.byte(), Some(b'.' | b'_' | b'-' | b'+' | b':'));
        is_whole.then_some(Value { at, is })
    }
}

/// Of what no keys are made.
const NO_NAME: u8 = 1;
/// Of what no values are made but strings and lists.
const NO_WORD: u8 = 2;
const NEWLINE: u8 = 4;
/// What stands for other bytes in a pattern.
const WILD: u8 = 8;
const DOUBLE: u8 = 16;
const SINGLE: u8 = 32;

/// The classes of each byte.
static CLASSES: [u8; 256] = {
    let mut classes = [NO_NAME | NO_WORD; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let is_name = byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_word = byte.is_ascii_alphanumeric();
        classes[byte as usize] = if is_name { 0 } else { NO_NAME }
            | if is_word { 0 } else { NO_WORD }
            | match byte {
                b'\n' => NEWLINE,
                b'*' | b'?' => WILD,
                b'"' => DOUBLE,
                b'\'' => SINGLE,
                _ => 0,
            };
        byte += 1;
    }
    classes
};

#[inline]
fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// A value as it is written.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    /// Where it begins in the text, in bytes.
    pub(super) at: usize,
    pub(super) is: Is<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Is<'a> {
    /// Between the quotes, and how many bytes of it, from the first, stand for themselves if it
    /// is a pattern.
    Text {
        text: &'a str,
        plain: usize,
    },
    Number(i64),
    Flag(bool),
    List(Items<'a>),
}

impl Is<'_> {
    fn of_word(word: &str) -> Option<Self> {
        if let Some(digits) = word.strip_prefix("0x") {
            return i64::from_str_radix(digits, 16).ok().map(Self::Number);
        }
        match word {
            "true" => Some(Self::Flag(true)),
            "false" => Some(Self::Flag(false)),
            "0" => Some(Self::Number(0)),
            _ if word.starts_with('0') => None,
            _ => word.parse().ok().map(Self::Number),
        }
    }
}

/// The single values of a list that is known to be plain.
#[derive(Clone, Copy)]
pub(super) struct Items<'a>(Cursor<'a>);

impl<'a> Items<'a> {
    pub(super) fn each(self) -> impl Iterator<Item = Value<'a>> {
        let Self(mut place) = self;
        std::iter::from_fn(move || {
            while let Some(b' ' | b'\t' | b',') = place.byte() {
                place.skip_byte();
            }
            if place.byte()? == b']' {
                return None;
            }
            place.single()
        })
    }
}
