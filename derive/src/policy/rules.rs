// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rules of a file.
//!
//! Each request reads the policy anew, into memory that is locked and in the end
//! overwritten. So the names and patterns of a thousand rules are no strings of their own
//! but parts of one; and of a rule that is known not to be about the request, no more is
//! kept than counts.

use std::borrow::Cow;
use std::fmt;

use super::doubt::Tolerance;
use super::facts::{Facts, Field};
use super::glob::Glob;
use super::rule::{Action, Grant, Met};

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
}

/// The rules of a file that may be about a request, and what is known of all.
#[derive(Clone, Default)]
pub(super) struct Rules {
    pub(super) all: All,
    /// All names and patterns.
    text: String,
    entries: Vec<Entry>,
    patterns: Vec<Pattern>,
}

/// What is known of all rules of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct All {
    pub(super) count: usize,
    /// Whether one gives keys permissions of their own.
    pub(super) sets_permissions: bool,
    /// What any of them tolerates.
    pub(super) tolerate: Tolerance,
}

impl Rules {
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
        self.all == other.all && self.iter().eq(other.iter())
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
            paths: pattern.field.is_path(),
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
pub(super) struct Draft<'a> {
    /// What is known of the request.
    facts: Option<&'a Facts>,
    rules: Rules,
    /// What is read just now.
    current: Current,
}

/// A rule that is being read.
#[derive(Default)]
struct Current {
    name: Option<Part>,
    /// It is not about the request.
    is_passed_over: bool,
    /// How much text there was before it.
    text: usize,
    /// How many patterns there were before it, and before its last condition.
    patterns: usize,
    condition: usize,
}

impl<'a> Draft<'a> {
    /// None yet. If something is known of the request, only those will be kept that may be
    /// about it.
    pub(super) fn new(facts: Option<&'a Facts>) -> Self {
        Self {
            facts,
            rules: Rules::default(),
            current: Current::default(),
        }
    }

    #[inline]
    fn keep(&mut self, text: &str) -> Part {
        let start = self.rules.text.len();
        self.rules.text.push_str(text);
        Part::new(start, text.len())
    }

    /// The name of the rule that is being read.
    pub(super) fn name(&mut self, name: &str) {
        self.current.name = Some(self.keep(name));
    }

    /// Adds to the rule that is being read that a field may be this.
    #[inline]
    pub(super) fn may_be(&mut self, field: Field, pattern: &str) {
        if !self.current.is_passed_over {
            let text = self.keep(pattern);
            self.rules.patterns.push(Pattern { field, text });
        }
    }

    /// The field may be nothing else.
    #[inline]
    pub(super) fn end_condition(&mut self) {
        let Self { rules, current, .. } = self;
        if let Some(facts) = self.facts
            && !current.is_passed_over
        {
            let condition = Condition {
                text: &rules.text,
                patterns: &rules.patterns[current.condition..],
            };
            current.is_passed_over = condition.met(facts) == Met::No;
        }
        current.condition = rules.patterns.len();
    }

    /// The rule that is being read has been read.
    pub(super) fn end_rule(&mut self, line: usize, says: (Action, Grant)) {
        let Self { rules, current, .. } = self;
        let (_, grant) = says;
        rules.all.count += 1;
        rules.all.sets_permissions |= grant.permissions.is_some();
        rules.all.tolerate = rules.all.tolerate.or(grant.tolerate);
        if current.is_passed_over {
            rules.text.truncate(current.text);
            rules.patterns.truncate(current.patterns);
        } else {
            let patterns = &mut rules.patterns[current.patterns..];
            patterns.sort_by_key(|pattern| pattern.field);
            rules.entries.push(Entry {
                line,
                name: current.name,
                says,
                patterns: Part::new(current.patterns, patterns.len()),
            });
        }
        *current = Current {
            text: rules.text.len(),
            patterns: rules.patterns.len(),
            condition: rules.patterns.len(),
            ..Current::default()
        };
    }

    /// All that have been kept.
    pub(super) fn rules(self) -> Rules {
        self.rules
    }
}
