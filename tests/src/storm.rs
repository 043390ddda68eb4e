// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many askers at once, as when a machine boots: processes, each of a user of its own, in
//! session keyrings of their own, by way of the library for askers.
//!
//! Needs root, to become other users.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, pipe};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tdk_client::Identity;

use crate::live::Killed;

/// A request that is to be made.
#[derive(Clone, Debug)]
pub struct Asking {
    /// Who asks.
    pub uid: u32,
    /// For which key.
    pub key_id: String,
    /// How long it is to be.
    pub length: u16,
    /// By what the asker is to be known.
    pub identity: Identity,
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
    fn parse(line: &str) -> Option<(usize, Self)> {
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
        let (closed, gate) = pipe().unwrap();
        let (answers, answer) = pipe().unwrap();
        let start = |(number, asking): (usize, &Asking)| {
            let mut command = Command::new(program);
            let identity = match asking.identity {
                Identity::Id => "id",
                _ => "path",
            };
            command
                .args([&number.to_string(), &asking.key_id])
                .args([&asking.length.to_string(), identity])
                .stdin(closed.try_clone().unwrap())
                .stdout(answer.try_clone().unwrap());
            // Who stays root has no groups to give up.
            if asking.uid != 0 {
                command.uid(asking.uid).gid(asking.uid);
            }
            Killed(command.spawn().unwrap())
        };
        let processes: Vec<_> = askings.iter().enumerate().map(start).collect();
        let mut askers = Self {
            processes,
            gate,
            answers: BufReader::new(answers),
        };
        for _ in askings {
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
        }
    }

    /// Keys a second.
    pub fn throughput(&self) -> f64 {
        f64::from(u32::try_from(self.keys).unwrap()) / self.total.as_secs_f64()
    }
}
