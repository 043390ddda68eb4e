// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What went over the connections, and what was done to it.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::command::{code, command_name, describe_command, describe_response};
use super::control;
use super::fault::{Fault, hex};
use super::pcap::{Direction, Pcap, Port};
use crate::error::SimError;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, since the proxy was started.
    pub at: Duration,
    /// On which connection; they are counted from 1, those of both channels together.
    pub connection: u32,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A program has connected.
    Connected,
    /// The connection has ended, from either side.
    Closed,
    /// A command came.
    Command(Vec<u8>),
    /// This happened to the command before.
    Fault(Fault),
    /// The TPM lost its power and got it back.
    PowerCycled,
    /// The program got these bytes as the answer to the command of that code.
    Answer(u32, Vec<u8>),
    /// The TPM answered this to the command of that code, and the program did not get
    /// it.
    Lost(u32, Vec<u8>),
    /// The TPM could not be asked.
    Unreachable(String),
    /// Something came on the control channel.
    Control(Vec<u8>),
    /// The answer to that.
    ControlAnswer(Vec<u8>),
}

/// One line.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:11.6} {:3} ", self.at.as_secs_f64(), self.connection)?;
        match &self.what {
            What::Connected => write!(f, "connected"),
            What::Closed => write!(f, "closed"),
            What::Command(bytes) => write!(f, "> {}", describe_command(bytes)),
            What::Fault(fault) => write!(f, "! {fault}"),
            What::PowerCycled => write!(f, "! the TPM was reset"),
            What::Answer(command, bytes) => write!(f, "< {}", describe_response(*command, bytes)),
            What::Lost(command, bytes) => {
                write!(f, "x {}", describe_response(*command, bytes))
            }
            What::Unreachable(why) => write!(f, "! the TPM can't be reached: {why}"),
            What::Control(bytes) => write!(f, "> {} {}", control::name(bytes), hex(bytes)),
            What::ControlAnswer(bytes) => write!(f, "< control {}", hex(bytes)),
        }
    }
}

/// All that has happened so far, shared by those to whom it happens.
pub(super) struct Record {
    start: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    connections: u32,
    trace: Option<Box<dyn Write + Send>>,
    pcap: Option<Pcap>,
    /// The first thing that went wrong with writing.
    failed: Option<io::Error>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record")
    }
}

impl Record {
    pub(super) fn new(trace: Option<Box<dyn Write + Send>>, pcap: Option<Pcap>) -> Self {
        Self {
            start: Instant::now(),
            inner: Mutex::new(Inner {
                trace,
                pcap,
                ..Inner::default()
            }),
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a new connection.
    pub(super) fn connected(&self) -> u32 {
        let connection = {
            let mut inner = self.inner();
            inner.connections += 1;
            inner.connections
        };
        self.add(connection, What::Connected);
        connection
    }

    pub(super) fn add(&self, connection: u32, what: What) {
        let mut inner = self.inner();
        let event = Event {
            at: self.start.elapsed(),
            connection,
            what,
        };
        let written = inner.write(&event);
        if let Err(error) = written {
            inner.failed.get_or_insert(error);
        }
        inner.events.push(event);
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.inner().events.clone()
    }

    /// The codes of all commands so far.
    pub(super) fn commands(&self) -> Vec<u32> {
        let inner = self.inner();
        let commands = inner.events.iter().filter_map(|event| match &event.what {
            What::Command(bytes) => Some(code(bytes)),
            _ => None,
        });
        commands.collect()
    }

    /// What happened to which commands so far.
    pub(super) fn fired(&self) -> Vec<(String, Fault)> {
        let inner = self.inner();
        let mut last = std::collections::HashMap::new();
        let mut fired = Vec::new();
        for event in &inner.events {
            match &event.what {
                What::Command(bytes) => {
                    last.insert(event.connection, command_name(code(bytes)));
                }
                What::Fault(fault) => {
                    let command = last.get(&event.connection).cloned().unwrap_or_default();
                    fired.push((command, fault.clone()));
                }
                _ => {}
            }
        }
        fired
    }

    /// Whether everything was written.
    pub(super) fn finish(&self) -> Result<(), SimError> {
        let mut inner = self.inner();
        if let Some(pcap) = &mut inner.pcap
            && let Err(error) = pcap.flush()
        {
            inner.failed.get_or_insert(error);
        }
        match inner.failed.take() {
            Some(error) => Err(SimError::io("writing what the proxy has seen")(error)),
            None => Ok(()),
        }
    }
}

impl Inner {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        if let Some(trace) = &mut self.trace {
            writeln!(trace, "{event}")?;
            trace.flush()?;
        }
        let Some(pcap) = &mut self.pcap else {
            return Ok(());
        };
        let (port, direction, bytes) = match &event.what {
            What::Command(bytes) => (Port::Data, Direction::ToTpm, bytes),
            What::Answer(_, bytes) => (Port::Data, Direction::FromTpm, bytes),
            What::Control(bytes) => (Port::Control, Direction::ToTpm, bytes),
            What::ControlAnswer(bytes) => (Port::Control, Direction::FromTpm, bytes),
            _ => return Ok(()),
        };
        pcap.packet(event.connection, port, direction, bytes)
    }
}
