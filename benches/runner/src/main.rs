// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Measures what a derived key takes, beside what one could have instead, in one run:
//! one file of raw data, from which the table and the pictures of `docs/benchmarks.md`
//! are made. `make bench` runs it.
#![forbid(unsafe_code)]

mod chips;
mod commands;
mod complete;
mod growth;
mod guest;
mod keys;
mod machine;
mod page;
mod peers;
mod plots;
mod process;
mod progress;
mod run;
mod scale;
mod size;
mod stages;
mod targets;
mod timing;
mod upcall;
mod wire;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use run::Run;
use size::Size;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Parser)]
#[command(version, about = "Measures what a derived key takes")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure everything, and write the raw data
    Run {
        /// How much: full for the page (minutes), quick to see where one stands, test to
        /// see that all of it works
        #[arg(long, default_value = "full")]
        size: Size,
        /// Only the sections of these names
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// Where the raw data goes
        #[arg(long)]
        output: PathBuf,
    },
    /// What is measured in a virtual machine, by this program in it
    #[command(hide = true)]
    InGuest {
        /// How often by the system call
        calls: usize,
        /// How often by a process
        processes: usize,
    },
    /// Print the table of a run
    Table {
        /// The raw data
        run: PathBuf,
    },
    /// Draw the pictures of a run, and put its table into a page
    Page {
        /// The raw data
        run: PathBuf,
        /// The page, in which a section is marked for it; the pictures go into a
        /// directory of its name beside it
        #[arg(long, default_value = "docs/benchmarks.md")]
        page: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run { size, only, output } => measure(size, &only, &output),
        Command::InGuest { calls, processes } => guest::inside::measure(calls, processes),
        Command::Table { run } => Run::read(&run).map(|run| print!("{}", page::table(&run))),
        Command::Page { run, page } => publish(&run, &page),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tdk-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

type Section = fn(&mut Run) -> Result<()>;

/// In the order in which they are measured.
const SECTIONS: [(&str, Section); 9] = [
    ("stages", stages::measure),
    ("commands", commands::measure),
    ("process", process::measure),
    ("upcall", upcall::measure),
    ("keys", keys::measure),
    ("scale", scale::measure),
    ("chips", chips::measure),
    ("growth", growth::measure),
    ("guest", guest::measure),
];

fn measure(size: Size, only: &[String], output: &Path) -> Result<()> {
    if let Some(unknown) = only
        .iter()
        .find(|name| SECTIONS.iter().all(|(section, _)| section != name))
    {
        return Err(format!("no section is called {unknown}").into());
    }
    // Keys are made in here, and gone with it.
    tdk_sys::join_new_session()?;
    let mut run = Run::begin(size)?;
    for (number, (name, section)) in SECTIONS.iter().enumerate() {
        if only.is_empty() || only.iter().any(|wanted| wanted == name) {
            eprintln!("[{}/{}] {name}", number + 1, SECTIONS.len());
            section(&mut run).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    run.end();
    if let Some(directory) = output.parent() {
        fs::create_dir_all(directory)?;
    }
    run.write(output)?;
    print!("{}", page::table(&run));
    eprintln!("raw data: {}", output.display());
    Ok(())
}

/// What marks the section of the page that is written here.
const BEGIN: &str = "<!-- from here on written by `make bench` -->\n";
const END: &str = "<!-- up to here -->\n";

fn publish(raw: &Path, page: &Path) -> Result<()> {
    let run = Run::read(raw)?;
    complete::check(&run).map_err(|error| format!("{}: {error}", raw.display()))?;
    let text = fs::read_to_string(page)?;
    let (before, rest) = text.split_once(BEGIN).ok_or("the page has no mark")?;
    let (_, after) = rest.split_once(END).ok_or("the page has no second mark")?;
    let pictures = page.with_extension("");
    fs::create_dir_all(&pictures)?;
    plots::draw(&run, &pictures)?;
    let written = page::section(&run, raw, &pictures)?;
    fs::write(page, format!("{before}{BEGIN}{written}{END}{after}"))?;
    Ok(())
}
