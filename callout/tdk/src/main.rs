// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk`, the operator's command.
//!
//! Results go to standard output, everything else to standard error. Exit
//! status: 0 done, 1 failed, 2 called wrongly.
#![forbid(unsafe_code)]

use std::alloc::System;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tpm_derived_keys::tpm::TpmError;
use zeroizing_alloc::ZeroAlloc;

mod derive;
mod det_keygen;
mod doctor;
mod enroll;
mod error;
mod format;
mod key_ids;
mod key_pair;
mod log;
mod output;
mod place;
mod policy;
mod request;
mod root;
mod ssh_agent;
mod words;

use error::Error;
use output::print;
use place::Place;

/// Makes and inspects TPM-derived keys by hand
///
/// Results go to standard output, everything else to standard error. Exit status: 0 done, 1 failed,
/// 2 called wrongly.
#[derive(Parser)]
#[command(name = "tdk", version, max_term_width = 100)]
struct Tdk {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum Command {
    Derive(derive::Derive),
    DetKeygen(det_keygen::DetKeygen),
    Doctor(doctor::Doctor),
    Enroll(enroll::Enroll),
    Log(log::Log),
    Policy(policy::PolicyCommand),
    Request(request::Request),
    Root(root::Root),
    SshAgent(ssh_agent::SshAgent),
}

/// Wipes what is freed; what is not, and stacks, at the end.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() {
    tpm_derived_keys::no_core_dumps();
    tdk_sys::run_and_wipe(run)
}

fn run() -> ExitCode {
    // There may be a hundred thousand key ids, and they need not be freed one by one
    // before the process ends.
    let mut matches = ManuallyDrop::new(Tdk::command().get_matches());
    let tdk = match Tdk::from_arg_matches_mut(&mut matches) {
        Ok(tdk) => ManuallyDrop::new(tdk),
        Err(error) => error.format(&mut Tdk::command()).exit(),
    };
    let done = |()| ExitCode::SUCCESS;
    let result = match &tdk.command {
        Command::Derive(derive) => derive.run(&tdk.place).map(done),
        Command::DetKeygen(det_keygen) => det_keygen.run(&tdk.place).map(done),
        Command::Doctor(doctor) => doctor.run(&tdk.place),
        Command::Enroll(enroll) => enroll.run(&tdk.place).map(done),
        Command::Log(log) => log.run(&tdk.place).map(done),
        Command::Policy(policy) => policy.run(&tdk.place),
        Command::Request(request) => request.run(&tdk.place).map(done),
        Command::Root(root) => root.run(&tdk.place).map(done),
        Command::SshAgent(agent) => agent.run(&tdk.place),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to be done if standard error is closed.
            let _ = writeln!(std::io::stderr(), "tdk: {error}");
            if let Error::Tpm(error) = &error {
                leave_if_hanging(error);
            }
            error.exit_code()
        }
    }
}

/// Called at the end: a TPM device that hangs would keep this process from
/// exiting.
fn leave_if_hanging(error: &TpmError) {
    if let TpmError::Deadline { .. } = error {
        tdk_sys::leave_files_to_a_child();
    }
}

/// Tells what does not keep the command from its result.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "tdk: warning: {text}");
}
