// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many askers at once, as when a machine boots: processes, each of a user of its own, in
//! session keyrings of their own, by way of the library for askers.
//!
//! Needs root, to become other users.

use std::fmt;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, pipe};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::live::Killed;
use crate::oracle::Request;

/// A request that is to be made.
#[derive(Clone, Debug)]
pub struct Asking {
    /// Who asks.
    pub uid: u32,
    /// Of which type the key is to be: `user`, `logon` or `asymmetric`.
    pub key_type: &'static str,
    /// For which key.
    pub key_id: String,
    /// How long it is to be, or which pair of keys.
    pub what: String,
    /// By what the asker is to be known: `path` or `id`.
    pub identity: &'static str,
}

impl Asking {
    /// What the asker has as its arguments.
    pub fn arguments(&self, number: usize) -> [String; 5] {
        [
            number.to_string(),
            self.key_type.into(),
            self.key_id.clone(),
            self.what.clone(),
            self.identity.into(),
        ]
    }

    /// The same, by that program, for the oracle.
    pub fn request(&self, program: &str) -> Request {
        let value = if self.identity == "path" { program } else { "" };
        let info = format!("{} {}", self.what, self.identity);
        Request {
            key_type: self.key_type.into(),
            ..Request::user(&self.key_id, &info, self.uid, value)
        }
    }
}

/// The keys of these users that are neither there nor refused yet, by what
/// `/proc/key-users` has.
pub fn under_construction(key_users: &str, askings: &[Asking]) -> usize {
    let of_line = |line: &str| {
        let (uid, rest) = line.trim_start().split_once(':')?;
        let uid: u32 = uid.parse().ok()?;
        // How many there are, and how many of them are instantiated.
        let (all, done) = rest.split_ascii_whitespace().nth(1)?.split_once('/')?;
        let is_asker = askings.iter().any(|asking| asking.uid == uid);
        is_asker.then_some(all.parse::<usize>().ok()? - done.parse::<usize>().ok()?)
    };
    key_users.lines().filter_map(of_line).sum()
}

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// EAGAIN.
    Later,
    /// Anything else.
    Other(String),
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// When it was asked, by the monotonic clock.
    pub asked: Duration,
    /// When the answer was there.
    pub answered: Duration,
    /// The key.
    pub key: Result<Vec<u8>, Refused>,
}

impl Answered {
    /// How long the asker waited.
    pub fn waited(&self) -> Duration {
        self.answered.saturating_sub(self.asked)
    }

    /// `NUMBER ASKED ANSWERED ANSWER`, as the asker prints it.
    pub fn parse(line: &str) -> Option<(usize, Self)> {
        let mut words = line.splitn(5, ' ');
        let number = words.next()?.parse().ok()?;
        let mut time = || Some(Duration::from_nanos(words.next()?.parse().ok()?));
        let (asked, answered) = (time()?, time()?);
        let key = match (words.next()?, words.next()) {
            ("key", Some(key)) => Ok(hex::decode(key).ok()?),
            ("later", None) => Err(Refused::Later),
            (_, why) => Err(Refused::Other(why.unwrap_or_default().into())),
        };
        Some((
            number,
            Self {
                asked,
                answered,
                key,
            },
        ))
    }
}

/// Processes that wait to ask, all of them there.
#[derive(Debug)]
pub struct Askers {
    processes: Vec<Killed>,
    /// They wait until nobody holds this any more.
    gate: PipeWriter,
    answers: BufReader<PipeReader>,
}

impl Askers {
    /// Starts them: copies of one program, [`crate::programs::asker`], which all of the
    /// users can run.
    pub fn start(program: &Path, askings: &[Asking]) -> Self {
        let askings = askings.iter().enumerate();
        Self::run(askings.map(|(number, asking)| {
            let mut command = Command::new(program);
            command.args(asking.arguments(number));
            // Who stays root has no groups to give up.
            if asking.uid != 0 {
                command.uid(asking.uid).gid(asking.uid);
            }
            command
        }))
    }

    /// Starts programs that do as askers do; the first of them has the number 0.
    pub fn run(commands: impl IntoIterator<Item = Command>) -> Self {
        let (closed, gate) = pipe().unwrap();
        let (answers, answer) = pipe().unwrap();
        let start = |mut command: Command| {
            command
                .stdin(closed.try_clone().unwrap())
                .stdout(answer.try_clone().unwrap());
            Killed(command.spawn().unwrap())
        };
        let processes: Vec<_> = commands.into_iter().map(start).collect();
        let mut askers = Self {
            processes,
            gate,
            answers: BufReader::new(answers),
        };
        for _ in 0..askers.processes.len() {
            assert_eq!(askers.line(), "ready\n");
        }
        askers
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }

    /// Has all of them ask, and waits for the answers; those who asked are still there.
    pub fn ask(mut self) -> (Vec<Answered>, Vec<Killed>) {
        let (_, closed) = pipe().unwrap();
        drop(std::mem::replace(&mut self.gate, closed));
        let mut answers = vec![None; self.processes.len()];
        for _ in 0..answers.len() {
            let line = self.line();
            let (number, answer) = Answered::parse(line.trim_end()).expect(&line);
            answers[number] = Some(answer);
        }
        let answers = answers.into_iter().map(Option::unwrap).collect();
        (answers, self.processes)
    }
}

/// All at once: nobody asks before all are there.
pub fn at_once(program: &Path, askings: &[Asking]) -> Vec<Answered> {
    Askers::start(program, askings).ask().0
}

/// One after the other.
pub fn in_a_row(program: &Path, askings: &[Asking]) -> Vec<Answered> {
    let askings = askings.iter();
    let askers: Vec<_> = askings
        .map(|asking| Askers::start(program, std::slice::from_ref(asking)))
        .collect();
    let answers = askers.into_iter().map(Askers::ask);
    let answers: Vec<_> = answers.collect();
    answers
        .into_iter()
        .flat_map(|(answers, _gone)| answers)
        .collect()
}

/// What a storm was like, in a few numbers.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// How many got a key.
    pub keys: usize,
    /// Until the last one was answered.
    pub total: Duration,
    /// How long half of them waited at most.
    pub median: Duration,
    /// How long 99 of 100 waited at most.
    pub p99: Duration,
    /// How long the last one waited.
    pub longest: Duration,
    /// By how many places the answers came in another order than the questions: half of
    /// them, and the worst.
    pub out_of_order: (usize, usize),
}

impl Summary {
    /// Of at least one answer.
    pub fn of(answers: &[Answered]) -> Self {
        let mut waited: Vec<_> = answers.iter().map(Answered::waited).collect();
        waited.sort();
        let at = |percent: usize| waited[(waited.len() - 1) * percent / 100];
        let first = answers.iter().map(|answer| answer.asked).min().unwrap();
        let last = answers.iter().map(|answer| answer.answered).max().unwrap();
        Self {
            keys: answers.iter().filter(|answer| answer.key.is_ok()).count(),
            total: last.saturating_sub(first),
            median: at(50),
            p99: at(99),
            longest: at(100),
            out_of_order: out_of_order(answers),
        }
    }

    /// Keys a second.
    pub fn throughput(&self) -> f64 {
        f64::from(u32::try_from(self.keys).unwrap()) / self.total.as_secs_f64()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, worst) = self.out_of_order;
        write!(
            f,
            "{} keys, {:.1} a second; waited {:?}, p99 {:?}, longest {:?}; out of order by \
             {median} places, worst {worst}",
            self.keys,
            self.throughput(),
            self.median,
            self.p99,
            self.longest,
        )
    }
}

fn out_of_order(answers: &[Answered]) -> (usize, usize) {
    let rank = |by: fn(&Answered) -> Duration| {
        let mut order: Vec<_> = (0..answers.len()).collect();
        order.sort_by_key(|number| by(&answers[*number]));
        let mut rank = vec![0; order.len()];
        for (place, number) in order.into_iter().enumerate() {
            rank[number] = place;
        }
        rank
    };
    let (asked, answered) = (rank(|a| a.asked), rank(|a| a.answered));
    let mut by: Vec<_> = asked
        .iter()
        .zip(&answered)
        .map(|(asked, answered)| asked.abs_diff(*answered))
        .collect();
    by.sort_unstable();
    (by[by.len() / 2], by[by.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_under_construction() {
        let asking = |uid| Asking {
            uid,
            key_type: "user",
            key_id: "x".into(),
            what: "32".into(),
            identity: "id",
        };
        let users = "    0:    57 56/50 47/1000000 989/25000000\n 2000:     3 3/3 3/200 27/20000\n 2001:     5 5/3 4/200 40/20000\n";
        assert_eq!(under_construction(users, &[asking(2000)]), 0);
        assert_eq!(under_construction(users, &[asking(2000), asking(2001)]), 2);
        assert_eq!(under_construction(users, &[asking(0)]), 6);
    }
}
