// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One connection of a program's: commands to the TPM, and answers back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::chip::Chip;
use super::command::code;
use super::control;
use super::fault::Fault;
use super::plan::Plan;
use super::record::{Record, What};
use super::stream::{Targets, ask, command};
use crate::error::SimError;

/// The TPM as programs see it.
#[derive(Debug)]
pub(super) struct Chain {
    /// Where the software TPM is, if there is one.
    pub(super) targets: Option<Targets>,
    pub(super) chip: Option<Chip>,
    /// Whoever holds it has the TPM: it does one thing after the other.
    pub(super) plan: Mutex<Plan>,
    pub(super) record: Record,
}

/// What the program gets.
enum Outcome {
    /// These bytes, and the connection goes on.
    Answer(Vec<u8>),
    /// These bytes, and the connection ends.
    AnswerAndClose(Vec<u8>),
    /// Nothing, for ever.
    Silence,
}

impl Chain {
    /// Serves one connection until it ends.
    pub(super) fn serve(&self, client: &mut File, connection: u32) -> io::Result<()> {
        while let Some(command) = command(client)? {
            match self.decide(connection, &command) {
                Outcome::Answer(bytes) => {
                    self.record
                        .add(connection, What::Answer(code(&command), bytes.clone()));
                    client.write_all(&bytes)?;
                }
                Outcome::AnswerAndClose(bytes) => {
                    if !bytes.is_empty() {
                        self.record
                            .add(connection, What::Answer(code(&command), bytes.clone()));
                        client.write_all(&bytes)?;
                    }
                    return Ok(());
                }
                Outcome::Silence => {
                    // Until the other side has had enough, whatever else it says.
                    while client.read(&mut [0; 64])? > 0 {}
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn decide(&self, connection: u32, command: &[u8]) -> Outcome {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        self.record.add(connection, What::Command(command.to_vec()));
        let code = code(command);
        let fault = plan.decide(code, command);
        if let Some(fault) = &fault {
            self.record.add(connection, What::Fault(fault.clone()));
        }
        let answer = match &fault {
            Some(Fault::Answer(code)) => return Outcome::Answer(refusal(*code)),
            Some(Fault::Raw(bytes)) => return Outcome::Answer(bytes.clone()),
            Some(Fault::Close) => return Outcome::AnswerAndClose(Vec::new()),
            Some(Fault::Hang) => return Outcome::Silence,
            Some(Fault::PowerCycle | Fault::Reset) => {
                let startup = matches!(fault, Some(Fault::PowerCycle));
                self.power_cycle(connection, startup)
                    .and_then(|()| self.pass(command))
            }
            _ => self.pass(command),
        };
        // The TPM is others' from here on.
        drop(plan);
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let why = error.to_string();
                self.record.add(connection, What::Unreachable(why));
                return Outcome::AnswerAndClose(Vec::new());
            }
        };
        let lose = |answer: &Vec<u8>| {
            self.record
                .add(connection, What::Lost(code, answer.clone()));
        };
        match fault {
            Some(Fault::Delay(delay)) => thread::sleep(delay),
            Some(Fault::Cut(length)) => {
                lose(&answer);
                answer.truncate(length);
                return Outcome::AnswerAndClose(answer);
            }
            Some(Fault::Corrupt(byte)) => {
                lose(&answer);
                let byte = byte.min(answer.len().saturating_sub(1));
                if let Some(byte) = answer.get_mut(byte) {
                    *byte = !*byte;
                }
            }
            Some(Fault::Duplicate) => {
                answer.extend_from_within(..);
            }
            Some(Fault::Drop) => {
                lose(&answer);
                return Outcome::Silence;
            }
            Some(Fault::Instead(bytes)) => {
                lose(&answer);
                answer = bytes;
            }
            _ => {}
        }
        Outcome::Answer(answer)
    }

    /// Has the TPM do it, in the time that the chip takes.
    fn pass(&self, command: &[u8]) -> io::Result<Vec<u8>> {
        if let Some(chip) = &self.chip {
            thread::sleep(chip.latency(command));
        }
        ask(&self.targets()?.data, command)
    }

    fn targets(&self) -> io::Result<&Targets> {
        let none = || io::Error::new(io::ErrorKind::NotConnected, "there is none");
        self.targets.as_ref().ok_or_else(none)
    }

    fn power_cycle(&self, connection: u32, startup: bool) -> io::Result<()> {
        control::power_cycle(self.targets()?, startup)?;
        self.record.add(connection, What::PowerCycled);
        Ok(())
    }

    /// Takes the power from the TPM and gives it back, between two commands.
    pub(super) fn power_cycle_now(&self) -> Result<(), SimError> {
        let _tpm = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        self.power_cycle(0, true)
            .map_err(SimError::io("taking the power from the TPM"))
    }
}

/// A response with that code and nothing else.
fn refusal(code: u32) -> Vec<u8> {
    [&[0x80, 0x01, 0, 0, 0, 10][..], &code.to_be_bytes()].concat()
}
