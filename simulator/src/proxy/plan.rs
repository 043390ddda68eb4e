// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which commands something happens to: by rules, at random from a seed, or as a
//! function says.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::command::{command_code, command_name};
use super::fault::Fault;

/// A rule: what happens to which commands. Written `COMMAND:FAULT`,
/// `COMMAND@N:FAULT` or `COMMAND@N..M:FAULT`, where `any` is every command, and
/// the first one is number 1. Without numbers it is all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    command: Option<u32>,
    first: usize,
    last: usize,
    fault: Fault,
}

impl Rule {
    /// It happens to each command of that code.
    pub fn each(command: u32, fault: Fault) -> Self {
        Self {
            command: Some(command),
            first: 1,
            last: usize::MAX,
            fault,
        }
    }

    /// It happens to the command of that code which is the `number`th, from 1.
    pub fn nth(command: u32, number: usize, fault: Fault) -> Self {
        Self {
            first: number,
            last: number,
            ..Self::each(command, fault)
        }
    }

    /// It happens to the `number`th of all commands, from 1.
    pub fn at(number: usize, fault: Fault) -> Self {
        Self {
            command: None,
            ..Self::nth(0, number, fault)
        }
    }

    /// It happens to all commands.
    pub fn always(fault: Fault) -> Self {
        Self {
            command: None,
            ..Self::each(0, fault)
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (when, fault) = text
            .split_once(':')
            .ok_or_else(|| format!("'{text}' is no COMMAND:FAULT, as TPM2_HMAC@1:hang"))?;
        let (command, numbers) = when.split_once('@').unwrap_or((when, "1.."));
        let command = match command {
            "any" => None,
            name => Some(command_code(name).ok_or_else(|| {
                format!("'{name}' is no TPM command: write TPM2_HMAC, 0x155, or any")
            })?),
        };
        let (first, last) = match numbers.split_once("..") {
            Some((first, "")) => (first, None),
            Some((first, last)) => (first, Some(last)),
            None => (numbers, Some(numbers)),
        };
        let number = |text: &str| {
            let number = text.parse().ok().filter(|number| *number != 0);
            number.ok_or_else(|| format!("'{text}' is no number from 1"))
        };
        Ok(Self {
            command,
            first: number(first)?,
            last: last.map_or(Ok(usize::MAX), number)?,
            fault: fault.parse()?,
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.command {
            Some(code) => match command_name(code) {
                name if command_code(&name) == Some(code) => write!(f, "{name}")?,
                _ => write!(f, "{code:#x}")?,
            },
            None => write!(f, "any")?,
        }
        match (self.first, self.last) {
            (1, usize::MAX) => {}
            (first, usize::MAX) => write!(f, "@{first}..")?,
            (first, last) if first == last => write!(f, "@{first}")?,
            (first, last) => write!(f, "@{first}..{last}")?,
        }
        write!(f, ":{}", self.fault)
    }
}

/// A command that has come.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'c> {
    /// Its code.
    pub code: u32,
    /// How many commands there were before.
    pub before: usize,
    /// How many commands of this code there were before.
    pub before_of_code: usize,
    /// The whole command.
    pub bytes: &'c [u8],
}

type Decide = Box<dyn FnMut(&Arrived<'_>) -> Option<Fault> + Send>;

/// What happens to which commands.
#[derive(Default)]
pub struct Plan {
    rules: Vec<Rule>,
    random: Option<Random>,
    decide: Option<Decide>,
    seen: usize,
    seen_of: HashMap<u32, usize>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("rules", &self.rules)
            .field("random", &self.random)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// By rules, of which the first one that is about a command holds.
    pub fn script(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self {
            rules: rules.into_iter().collect(),
            ..Self::default()
        }
    }

    /// At random: to so many of a hundred commands happens one of these. The same
    /// seed has the same happen to the same commands. Rules come first.
    #[must_use]
    pub fn and_random(mut self, seed: u64, percent: u8, faults: Vec<Fault>) -> Self {
        self.random = Some(Random {
            state: seed,
            percent,
            faults,
        });
        self
    }

    /// As a function says.
    pub fn by(decide: impl FnMut(&Arrived<'_>) -> Option<Fault> + Send + 'static) -> Self {
        Self {
            decide: Some(Box::new(decide)),
            ..Self::default()
        }
    }

    /// What is to happen to a command.
    pub(super) fn decide(&mut self, code: u32, bytes: &[u8]) -> Option<Fault> {
        let before = self.seen;
        self.seen += 1;
        let seen_of = self.seen_of.entry(code).or_default();
        let before_of_code = *seen_of;
        *seen_of += 1;
        let by_rule = self.rules.iter().find(|rule| {
            let number = 1 + match rule.command {
                None => before,
                Some(command) if command == code => before_of_code,
                Some(_) => return false,
            };
            (rule.first..=rule.last).contains(&number)
        });
        if let Some(rule) = by_rule {
            return Some(rule.fault.clone());
        }
        if let Some(decide) = &mut self.decide {
            return decide(&Arrived {
                code,
                before,
                before_of_code,
                bytes,
            });
        }
        self.random.as_mut()?.choose()
    }
}

/// SplitMix64, which everybody computes alike.
#[derive(Debug)]
struct Random {
    state: u64,
    percent: u8,
    faults: Vec<Fault>,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn choose(&mut self) -> Option<Fault> {
        // Both are drawn each time, so that the one does not shift the other.
        let (whether, which) = (self.next() % 100, self.next());
        if whether >= u64::from(self.percent) || self.faults.is_empty() {
            return None;
        }
        let count = u64::try_from(self.faults.len()).unwrap_or(u64::MAX);
        let which = usize::try_from(which % count).unwrap_or(0);
        Some(self.faults[which].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_written_and_read() {
        for text in [
            "TPM2_HMAC:hang",
            "TPM2_HMAC@1:rc=TPM_RC_RETRY",
            "any@3:power-cycle",
            "any:delay=5",
            "TPM2_FlushContext@2..:close",
            "TPM2_FlushContext@2..4:close",
            "0x7:drop",
        ] {
            let rule: Rule = text.parse().expect(text);
            assert_eq!(rule.to_string(), text);
        }
        for text in [
            "",
            "hang",
            "TPM2_HMAC",
            "TPM2_Hmac:hang",
            "any@0:hang",
            "any@x:hang",
            "any@1..x:hang",
            "any:",
            "any@:hang",
        ] {
            text.parse::<Rule>().expect_err(text);
        }
    }

    fn decided(mut plan: Plan, codes: &[u32]) -> Vec<Option<Fault>> {
        codes.iter().map(|code| plan.decide(*code, &[])).collect()
    }

    #[test]
    fn rules_count() {
        let codes = [1, 2, 2, 1, 2];
        let rule = |text: &str| text.parse::<Rule>().expect(text);
        let hits = |rules: Vec<Rule>| -> Vec<usize> {
            let decided = decided(Plan::script(rules), &codes);
            (0..codes.len())
                .filter(|at| decided[*at].is_some())
                .collect()
        };
        assert_eq!(hits(vec![rule("0x2:hang")]), [1, 2, 4]);
        assert_eq!(hits(vec![rule("0x2@2:hang")]), [2]);
        assert_eq!(hits(vec![rule("0x2@2..:hang")]), [2, 4]);
        assert_eq!(
            hits(vec![rule("any@2..3:hang"), rule("0x1@1:drop")]),
            [0, 1, 2]
        );
        assert_eq!(hits(vec![Rule::at(5, Fault::Hang)]), [4]);
        assert_eq!(hits(vec![Rule::always(Fault::Hang)]), [0, 1, 2, 3, 4]);
        let first = decided(Plan::script([rule("0x1:drop"), rule("any:hang")]), &codes);
        assert_eq!(first[0], Some(Fault::Drop));
        assert_eq!(first[1], Some(Fault::Hang));
    }

    #[test]
    fn the_same_seed_the_same_faults() {
        let faults = vec![Fault::Hang, Fault::Drop];
        let plan = |seed| Plan::default().and_random(seed, 30, faults.clone());
        let codes = [1; 1000];
        let one = decided(plan(7), &codes);
        assert_eq!(one, decided(plan(7), &codes));
        assert_ne!(one, decided(plan(8), &codes));
        let count = one.iter().flatten().count();
        assert!((200..400).contains(&count), "{count}");
        for fault in faults {
            assert!(one.contains(&Some(fault)));
        }
    }
}
