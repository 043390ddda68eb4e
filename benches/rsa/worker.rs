// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generators in a process of their own, which lives as long as the benchmark, so
//! that its start does not count. It reads the number of bits and a seed from each
//! line of its input, and writes the CPU time and the time that the key took, in
//! nanoseconds. Its first line says who it is.

use std::io::{self, BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::cost::Cost;
use crate::{Result, generators};

/// With this argument the benchmark is such a process.
pub(crate) const ARGUMENT: &str = "--worker";

/// The other side.
pub(crate) struct Worker {
    process: Child,
    requests: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    pub(crate) greeting: String,
}

impl Worker {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = process.stdin.take();
        let answers = process.stdout.take().ok_or("no output")?;
        let mut answers = BufReader::new(answers).lines();
        let greeting = answers.next().ok_or("it does not start")??;
        Ok(Self {
            process,
            requests,
            answers,
            greeting,
        })
    }

    pub(crate) fn generate(&mut self, bits: u32, seed: &[u8]) -> Result<Cost> {
        let requests = self.requests.as_mut().ok_or("no input")?;
        writeln!(requests, "{bits} {}", hex::encode(seed))?;
        let answer = self.answers.next().ok_or("a generator has ended")??;
        let (cpu, wall) = answer.split_once(' ').ok_or("two numbers expected")?;
        let nanos = |number: &str| number.parse().map(Duration::from_nanos);
        Ok(Cost {
            cpu: nanos(cpu)?,
            wall: nanos(wall)?,
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.requests.take());
        let _ = self.process.wait();
    }
}

/// The library's search, in this process.
pub(crate) fn serve() -> Result<()> {
    println!("by another process");
    for line in io::stdin().lines() {
        let line = line?;
        let (bits, seed) = line.split_once(' ').ok_or("bits and a seed expected")?;
        let (bits, seed) = (bits.parse()?, hex::decode(seed)?);
        let cost = generators::ours(bits, &seed);
        println!("{} {}", cost.cpu.as_nanos(), cost.wall.as_nanos());
    }
    Ok(())
}
