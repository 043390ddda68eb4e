// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rules of a file, as parts of its text.
//!
//! Each request reads the policy anew, into memory that is locked and in the end
//! overwritten. So the names and patterns of a thousand rules are no strings of their own:
//! they stay where they were read, in the file's text.

use std::borrow::Cow;
use std::fmt;

use super::facts::Field;
use super::glob::Glob;
use super::rule::{Action, Grant};

/// A part of something, from one place to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    start: u32,
    end: u32,
}

/// A place, or a length, in half the room.
fn short(number: usize) -> u32 {
    u32::try_from(number).expect("files have a mebibyte at most")
}

impl Part {
    fn new(start: usize, length: usize) -> Self {
        Self {
            start: short(start),
            end: short(start + length),
        }
    }

    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A rule, where it was read.
#[derive(Clone, Debug)]
struct Entry {
    /// From 1 on.
    line: usize,
    name: Option<Part>,
    says: (Action, Grant),
    /// Those of all patterns that are its own, in the order of their fields.
    patterns: Part,
}

/// One of the things that a field may be.
#[derive(Clone, Copy, Debug)]
struct Pattern {
    field: Field,
    text: Part,
    /// As in [`Glob`].
    plain: u32,
    paths: bool,
}

/// The rules of a file.
#[derive(Clone, Default)]
pub(super) struct Rules {
    /// The file's, and behind it what is not written there as it is meant.
    text: String,
    entries: Vec<Entry>,
    patterns: Vec<Pattern>,
}

impl Rules {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, number: usize) -> Rule<'_> {
        Rule {
            rules: self,
            entry: &self.entries[number],
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Rule<'_>> {
        let rules = self;
        let entries = self.entries.iter();
        entries.map(move |entry| Rule { rules, entry })
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Rules {}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct Rule<'a> {
    rules: &'a Rules,
    entry: &'a Entry,
}

impl<'a> Rule<'a> {
    /// Where it begins.
    pub(super) fn line(self) -> usize {
        self.entry.line
    }

    pub(super) fn name(self) -> Option<&'a str> {
        self.entry.name.map(|name| &self.rules.text[name.range()])
    }

    pub(super) fn action(self) -> Action {
        self.entry.says.0
    }

    pub(super) fn grant(self) -> Grant {
        self.entry.says.1
    }

    /// What has to be met, all of it, in the order of the fields. Without any, it is about
    /// everybody.
    pub(super) fn conditions(self) -> impl Iterator<Item = Condition<'a>> {
        let text = &self.rules.text;
        self.rules.patterns[self.entry.patterns.range()]
            .chunk_by(|one, next| one.field == next.field)
            .map(move |patterns| Condition { text, patterns })
    }
}

impl PartialEq for Rule<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.line() == other.line()
            && self.name() == other.name()
            && self.entry.says == other.entry.says
            && self.conditions().eq(other.conditions())
    }
}

impl fmt::Debug for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("line", &self.line())
            .field("name", &self.name())
            .field("says", &self.entry.says)
            .field("conditions", &self.conditions().collect::<Vec<_>>())
            .finish()
    }
}

/// A field and what it has to be, one of these.
#[derive(Clone, Copy)]
pub(super) struct Condition<'a> {
    text: &'a str,
    /// At least one.
    patterns: &'a [Pattern],
}

impl<'a> Condition<'a> {
    pub(super) fn field(self) -> Field {
        self.patterns[0].field
    }

    pub(super) fn patterns(self) -> impl Iterator<Item = Glob<'a>> {
        self.patterns.iter().map(move |pattern| Glob {
            text: Cow::Borrowed(&self.text[pattern.text.range()]),
            plain: pattern.plain as usize,
            paths: pattern.paths,
        })
    }
}

impl PartialEq for Condition<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.field() == other.field() && self.patterns().eq(other.patterns())
    }
}

impl fmt::Debug for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns: Vec<_> = self.patterns().map(|glob| glob.to_string()).collect();
        write!(f, "{} {patterns:?}", self.field())
    }
}

/// Rules while they are read.
pub(super) struct Draft {
    /// So long is the text that there are parts of.
    length: usize,
    /// What comes behind it.
    more: String,
    entries: Vec<Entry>,
    patterns: Vec<Pattern>,
}

impl Draft {
    /// None yet, of a text of so many bytes, with room for so many.
    pub(super) fn new(length: usize, rules: usize, patterns: usize) -> Self {
        Self {
            length,
            more: String::new(),
            entries: Vec::with_capacity(rules),
            patterns: Vec::with_capacity(patterns),
        }
    }

    /// A part of the text.
    pub(super) fn written(start: usize, text: &str) -> Part {
        Part::new(start, text.len())
    }

    /// What is not a part of it as it is meant.
    pub(super) fn meant(&mut self, text: &str) -> Part {
        let start = self.length + self.more.len();
        self.more.push_str(text);
        Part::new(start, text.len())
    }

    /// Adds to the rule that is being read that a field may be this, which is written at a
    /// place if it is not meant otherwise.
    pub(super) fn may_be(&mut self, field: Field, glob: &Glob<'_>, at: usize) {
        let text = match &glob.text {
            Cow::Borrowed(text) => Self::written(at, text),
            Cow::Owned(text) => self.meant(text),
        };
        self.patterns.push(Pattern {
            field,
            text,
            plain: short(glob.plain),
            paths: glob.paths,
        });
    }

    /// The rule that is being read has been read.
    pub(super) fn end_rule(&mut self, line: usize, name: Option<Part>, says: (Action, Grant)) {
        let start = self.entries.last().map_or(0, |rule| rule.patterns.end) as usize;
        self.patterns[start..].sort_by_key(|pattern| pattern.field);
        self.entries.push(Entry {
            line,
            name,
            says,
            patterns: Part::new(start, self.patterns.len() - start),
        });
    }

    /// All of them.
    pub(super) fn of(self, mut text: String) -> Rules {
        text.truncate(self.length);
        text.push_str(&self.more);
        Rules {
            text,
            entries: self.entries,
            patterns: self.patterns,
        }
    }
}
