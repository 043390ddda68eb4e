// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What stands on the lines of a plain file, each byte looked at once.

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

/// What of a file's lines is not read yet. What is asked for and is not what comes next, plainly
/// written, is nothing.
pub(super) struct Rest<'a> {
    text: &'a str,
    rest: &'a [u8],
}

impl<'a> Rest<'a> {
    /// Whole lines; the last of a file may have no end.
    pub(super) fn of(lines: &'a str) -> Self {
        Self {
            text: lines,
            rest: lines.as_bytes(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The byte that is next.
    #[inline]
    pub(super) fn byte(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    fn skip(&mut self, what: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(what)?;
        Some(())
    }

    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        while let [byte, rest @ ..] = self.rest
            && is(*byte, BLANK)
        {
            self.rest = rest;
        }
    }

    /// As far as no byte is of these classes.
    #[inline]
    fn until(&mut self, classes: u8) -> &'a [u8] {
        let length = self.rest.iter().position(|byte| is(*byte, classes));
        let (part, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        self.rest = rest;
        part
    }

    /// The same, as text.
    #[inline]
    fn text_until(&mut self, classes: u8) -> &'a str {
        let start = self.text.len() - self.rest.len();
        let length = self.until(classes).len();
        &self.text[start..start + length]
    }

    /// The end of a line, before which there may be a comment.
    #[inline]
    pub(super) fn end_line(&mut self) -> Option<()> {
        self.skip_blanks();
        if self.byte() == Some(b'#') {
            self.until(END);
        }
        if self.is_empty() {
            return Some(());
        }
        self.skip(b"\n")
    }

    /// What a rule begins with.
    pub(super) fn rule(&mut self) -> Option<()> {
        self.skip(b"[[rule]]")
    }

    /// A key, and what stands between it and its value.
    #[inline]
    pub(super) fn key(&mut self) -> Option<&'a [u8]> {
        let key = self.until(NO_NAME);
        self.skip_blanks();
        self.skip(b"=")?;
        self.skip_blanks();
        Some(key)
    }

    /// What is between a string's quotes.
    #[inline]
    pub(super) fn string(&mut self) -> Option<&'a str> {
        let (quote, class) = match self.byte()? {
            quote @ b'"' => (quote, DOUBLE),
            quote @ b'\'' => (quote, SINGLE),
            _ => return None,
        };
        self.skip(&[quote])?;
        let text = self.text_until(class | END);
        self.skip(&[quote])?;
        Some(text)
    }

    /// A string that is one of a few words.
    #[inline]
    pub(super) fn word<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let word: StrDeserializer<'_, Error> = self.string()?.into_deserializer();
        T::deserialize(word).ok()
    }

    #[inline]
    pub(super) fn number(&mut self) -> Option<i64> {
        let word = self.text_until(NO_WORD);
        match word.strip_prefix('0') {
            None => word.parse().ok(),
            Some("") => Some(0),
            Some(digits) => i64::from_str_radix(digits.strip_prefix('x')?, 16).ok(),
        }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        self.text_until(NO_WORD).parse().ok()
    }

    /// The values of a list, each of which has to be read.
    pub(super) fn list(&mut self, mut read: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.skip(b"[")?;
        loop {
            self.skip_blanks();
            if self.byte()? == b']' {
                return self.skip(b"]");
            }
            read(self)?;
            self.skip_blanks();
            if self.byte()? != b']' {
                self.skip(b",")?;
            }
        }
    }
}

/// Of what no keys are made.
const NO_NAME: u8 = 1;
/// Of what no values are made but strings and lists.
const NO_WORD: u8 = 2;
/// The end of a line, and what stands in no plain file.
const END: u8 = 4;
const DOUBLE: u8 = 8;
const SINGLE: u8 = 16;
const BLANK: u8 = 32;

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
                b'"' => DOUBLE,
                b'\'' => SINGLE,
                b' ' | b'\t' => BLANK,
                0..b' ' | 127 | b'\\' => END,
                _ => 0,
            };
        byte += 1;
    }
    classes
};

#[inline]
fn is(byte: u8, classes: u8) -> bool {
    CLASSES[usize::from(byte)] & classes != 0
}
