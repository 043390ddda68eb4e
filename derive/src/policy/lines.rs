// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The lines of a plain file, and the values on them, each looked at once.

/// What a rule begins with.
const RULE: &str = "[[rule]]";

pub(super) enum Line<'a> {
    Rule,
    Pair { key: &'a str, value: Value<'a> },
    End,
}

/// The lines that say something.
pub(super) struct Lines<'a> {
    place: Cursor<'a>,
    /// The last line's number, from 1 on.
    pub(super) number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let place = Cursor { text, at: 0 };
        Self { place, number: 0 }
    }

    /// The next one; nothing if it is not plain.
    pub(super) fn next(&mut self) -> Option<Line<'a>> {
        let place = &mut self.place;
        loop {
            self.number += 1;
            place.skip_blanks();
            let line = match place.byte() {
                None => return Some(Line::End),
                Some(b'\n' | b'#') => None,
                Some(b'[') => {
                    place.skip(RULE)?;
                    Some(Line::Rule)
                }
                Some(_) => {
                    let key = place.until(NO_NAME);
                    place.skip_blanks();
                    place.skip("=")?;
                    place.skip_blanks();
                    let value = place.value()?;
                    Some(Line::Pair { key, value })
                }
            };
            place.end_line()?;
            if line.is_some() {
                return line;
            }
        }
    }
}

/// A place in a text.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The byte that is next.
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    /// Nothing if it is not what is next.
    fn skip(&mut self, what: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.starts_with(what.as_bytes()).then_some(())?;
        self.at += what.len();
        Some(())
    }

    /// As far as no byte is of these classes.
    #[inline]
    fn until(&mut self, classes: u8) -> &'a str {
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        let length = rest.iter().position(|byte| is(*byte, classes));
        self.at += length.unwrap_or(rest.len());
        &self.text[start..self.at]
    }

    /// Behind the end of a line on which nothing more is said.
    #[inline]
    fn end_line(&mut self) -> Option<()> {
        self.skip_blanks();
        if self.byte() == Some(b'#') {
            self.until(CONTROL);
        }
        match self.byte() {
            None => Some(()),
            Some(b'\n') => {
                self.at += 1;
                Some(())
            }
            Some(_) => None,
        }
    }

    fn value(&mut self) -> Option<Value<'a>> {
        if self.byte()? != b'[' {
            return self.single();
        }
        let at = self.at;
        self.at += 1;
        loop {
            self.skip_blanks();
            if self.byte()? == b']' {
                break;
            }
            self.single()?;
            self.skip_blanks();
            match self.byte()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
        }
        let is = Is::List(&self.text[at + 1..self.at]);
        self.at += 1;
        Some(Value { at, is })
    }

    #[inline]
    fn single(&mut self) -> Option<Value<'a>> {
        let at = self.at;
        let first = self.byte()?;
        if !matches!(first, b'"' | b'\'') {
            let is = Is::of_word(self.until(NO_WORD))?;
            // 1.5, 1_000 and 1979-05-27 are something else.
            let is_whole = !matches!(self.byte(), Some(b'.' | b'_' | b'-' | b'+' | b':'));
            return is_whole.then_some(Value { at, is });
        }
        self.at += 1;
        let end = if first == b'"' { DOUBLE } else { SINGLE };
        let text = self.until(end | CONTROL | BACKSLASH);
        if self.byte()? != first {
            return None;
        }
        self.at += 1;
        let is = Is::Text(text);
        Some(Value { at, is })
    }
}

/// Of what no keys are made.
const NO_NAME: u8 = 1;
/// Of what no values are made but strings and lists.
const NO_WORD: u8 = 2;
/// What stands neither in strings nor in comments.
const CONTROL: u8 = 4;
const BACKSLASH: u8 = 8;
const DOUBLE: u8 = 16;
const SINGLE: u8 = 32;

/// The classes of each byte.
static CLASSES: [u8; 256] = {
    let mut classes = [NO_NAME | NO_WORD; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let is_name = byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_control = byte.is_ascii_control() && byte != b'\t';
        classes[byte as usize] = if is_name { 0 } else { NO_NAME }
            | if byte.is_ascii_alphanumeric() {
                0
            } else {
                NO_WORD
            }
            | if is_control { CONTROL } else { 0 }
            | match byte {
                b'\\' => BACKSLASH,
                b'"' => DOUBLE,
                b'\'' => SINGLE,
                _ => 0,
            };
        byte += 1;
    }
    classes
};

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// A value as it is written.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    /// Where it begins, in bytes.
    pub(super) at: usize,
    pub(super) is: Is<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Is<'a> {
    Text(&'a str),
    Number(i64),
    Flag(bool),
    /// What is between the brackets, and known to be plain.
    List(&'a str),
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
pub(super) fn items(list: &str) -> impl Iterator<Item = Value<'_>> {
    let mut place = Cursor { text: list, at: 0 };
    std::iter::from_fn(move || {
        while let Some(b' ' | b'\t' | b',') = place.byte() {
            place.at += 1;
        }
        place.single()
    })
}
