// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk-sim`: simulated TPMs, by hand.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Software TPMs for tpm-derived-keys.
#[derive(Debug, Parser)]
#[command(name = "tdk-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a software TPM until Ctrl-C and print its TCTI string.
    Swtpm(cli::swtpm::Arguments),
    /// Stand before a software TPM, as a slow, busy or broken one.
    Proxy(cli::proxy::Arguments),
    /// Run a script, or a shell, in a virtual machine with a software TPM.
    Guest(cli::guest::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Swtpm(arguments) => cli::swtpm::run(arguments),
        Command::Proxy(arguments) => return cli::proxy::run(arguments),
        Command::Guest(arguments) => return cli::guest::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tdk-sim: {error}");
            ExitCode::FAILURE
        }
    }
}
