// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk-sim proxy`: a slow, busy or broken TPM, by hand.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tdk_simulator::proxy::{Chip, Fault, Plan, Proxy, Rule};
use tdk_simulator::{Endpoint, Swtpm};

use super::source;

/// What `tdk-sim proxy` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The software TPM to stand before, as a TCTI string (swtpm:path=SOCKET or
    /// swtpm:host=127.0.0.1,port=N). Without it one is started.
    #[arg(long, value_name = "TCTI", conflicts_with = "state")]
    tpm: Option<String>,

    /// Keep the state of the TPM that is started in this directory, which is made if
    /// missing. Without it the state is temporary.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Listen on free TCP ports of 127.0.0.1 instead of Unix sockets.
    #[arg(long)]
    tcp: bool,

    /// Take as long as this chip: slb9670, slb9672, slb9673, st33ktpm2x.
    #[arg(long, value_name = "CHIP")]
    profile: Option<Chip>,

    /// What happens to which commands, as TPM2_HMAC@1:rc=TPM_RC_RETRY; may be repeated,
    /// the first that fits holds. The command is a name, a code or any; @N or @N..M
    /// are numbers from 1. Then rc=CODE, delay=MILLISECONDS, cut=BYTES, corrupt=BYTE,
    /// duplicate, drop, hang, close, power-cycle, reset, raw=HEX or instead=HEX.
    #[arg(long, value_name = "RULE")]
    fault: Vec<Rule>,

    /// Have something happen at random, the same for the same seed.
    #[arg(long, value_name = "SEED", requires = "random_fault")]
    random: Option<u64>,

    /// To how many of a hundred commands.
    #[arg(long, value_name = "NUMBER", default_value_t = 10,
          value_parser = clap::value_parser!(u8).range(..=100))]
    percent: u8,

    /// One of the things that happen at random; may be repeated.
    #[arg(long, value_name = "FAULT", requires = "random")]
    random_fault: Vec<Fault>,

    /// Write a line for each thing that happens; - is the standard error.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Write what goes over the connections, for tcpdump and Wireshark.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,

    /// A command to run meanwhile, in whose arguments {} is the proxy's TCTI string.
    /// Without it the proxy runs until Ctrl-C, and its TCTI string is printed.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs a proxy as long as the command takes (and ends with its status), or until a
/// signal comes.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    match start(arguments) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("tdk-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    // Before the start, so that none is missed.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCHLD])?;
    let mut tpm = None;
    let builder = match &arguments.tpm {
        Some(tcti) => match Proxy::before_tcti(tcti) {
            Ok(builder) => builder,
            Err(wrong) => {
                eprintln!("tdk-sim: {wrong}");
                return Ok(ExitCode::from(2));
            }
        },
        None => Proxy::before(
            tpm.insert(
                Swtpm::builder()
                    .state(source(arguments.state)?)
                    // A Ctrl-C is for this process, which then stops the TPM in order.
                    .own_process_group(true)
                    .start()?,
            ),
        ),
    };
    let mut plan = Plan::script(arguments.fault);
    if let Some(seed) = arguments.random {
        plan = plan.and_random(seed, arguments.percent, arguments.random_fault);
    }
    let mut builder = builder.plan(plan).endpoint(if arguments.tcp {
        Endpoint::Tcp
    } else {
        Endpoint::Unix
    });
    if let Some(chip) = arguments.profile {
        builder = builder.chip(chip);
    }
    builder = match arguments.trace.as_deref() {
        None => builder,
        Some(path) if path == Path::new("-") => builder.trace(io::stderr()),
        Some(path) => builder.trace(file(path)?),
    };
    if let Some(path) = arguments.pcap {
        builder = builder.pcap(path);
    }
    let proxy = builder.start()?;

    let status = if let Some((program, rest)) = arguments.command.split_first() {
        let in_place = |word: &String| word.replace("{}", &proxy.tcti());
        let child = Command::new(program)
            .args(rest.iter().map(in_place))
            .spawn();
        let child = child.map_err(|error| format!("starting {program}: {error}"))?;
        wait(child, &mut signals)?
    } else {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", proxy.tcti())?;
        stdout.flush()?;
        eprintln!("stop with Ctrl-C");
        for signal in signals.forever() {
            match &mut tpm {
                _ if signal != SIGCHLD => break,
                Some(tpm) => tpm.check()?,
                None => {}
            }
        }
        ExitCode::SUCCESS
    };
    proxy.stop()?;
    if let Some(tpm) = tpm {
        tpm.stop()?;
    }
    Ok(status)
}

/// For its owner only: a trace says who asks for what.
fn file(path: &Path) -> Result<std::fs::File, String> {
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    made.map_err(|error| format!("making {}: {error}", path.display()))
}

/// Waits for the command, which gets the signals that ask for an end. (Those of the
/// terminal it gets anyway.)
fn wait(mut child: Child, signals: &mut Signals) -> io::Result<ExitCode> {
    loop {
        if let Some(status) = child.try_wait()? {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
        }
        for signal in signals.wait() {
            let passed_on = match signal {
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                _ => continue,
            };
            rustix::process::kill_process(Pid::from_child(&child), passed_on)?;
        }
    }
}
