// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every command of a derivation, with everything that can go wrong with it: the right
//! key or an errno, in time, and nothing left behind. The result is in
//! `docs/reliability.md`; with `TDK_WRITE_PAGES=1` it is written there.

mod cell;
mod mode;

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::thread;

use cell::{Cell, Outcome, Takes, Wrong, undisturbed};
use mode::{Library, Mode};
use tdk_simulator::proxy::command_name;
use tdk_tests::project;
use tempfile::TempDir;

const PAGE: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- begin of the matrix -->\n";
const END: &str = "<!-- end of the matrix -->\n";

/// How many at once of those that wait until their limit, of those that ask until then, and
/// of those that take no longer than others. When the limit is there, all that wait clean up
/// at once, and have little time for it.
const WAITING: usize = 75;
const ASKING: usize = 40;
const NO_LONGER: usize = 4;

/// Runs cells side by side, and gives what came of each.
fn run(cells: &[Cell<'_>]) -> Vec<Outcome> {
    let outcomes = Mutex::new(vec![None; cells.len()]);
    thread::scope(|scope| {
        for (takes, at_once) in [
            (Takes::Waiting, WAITING),
            (Takes::Asking, ASKING),
            (Takes::NoLonger, NO_LONGER),
        ] {
            let numbered = cells.iter().enumerate();
            let of_kind = numbered.filter(move |(_, cell)| cell.wrong.takes == takes);
            let next = Arc::new(Mutex::new(of_kind));
            for _ in 0..at_once {
                let (next, outcomes) = (Arc::clone(&next), &outcomes);
                scope.spawn(move || {
                    let take = || next.lock().unwrap().next();
                    while let Some((number, cell)) = take() {
                        let outcome = cell.run();
                        outcomes.lock().unwrap()[number] = Some(outcome);
                    }
                });
            }
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    outcomes.into_iter().map(Option::unwrap).collect()
}

/// What came of the same place and fault, by both libraries.
fn entry(outcomes: &[Outcome]) -> String {
    let texts: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let mark = if outcome.left { "*" } else { "" };
            format!("{}{mark}", outcome.answer)
        })
        .collect();
    if texts.iter().all(|text| *text == texts[0]) {
        texts[0].clone()
    } else {
        texts.join(" / ")
    }
}

/// A way to a key, and what it is where nothing goes wrong.
struct Way {
    mode: Mode,
    /// Where the TPM's state is.
    directory: TempDir,
    expected: Vec<u8>,
    commands: Vec<u32>,
}

impl Way {
    fn new(mode: Mode) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        mode.prepare(state);
        let (expected, commands) = undisturbed(mode, Library::Direct, state);
        let by_tss = undisturbed(mode, Library::Tss, state);
        assert_eq!(by_tss, (expected.clone(), commands.clone()), "{mode:?}");
        Self {
            mode,
            directory,
            expected,
            commands,
        }
    }

    /// What goes wrong, at each place, by each library, in this order.
    fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        let places = move |wrong| {
            let commands = self.commands.iter().enumerate();
            commands.map(move |(place, command)| (wrong, place + 1, *command))
        };
        let cells = move |(wrong, place, command)| {
            Library::ALL.map(|by| Cell {
                mode: self.mode,
                state: self.directory.path(),
                expected: &self.expected,
                by,
                place,
                command,
                wrong,
            })
        };
        Wrong::ALL.into_iter().flat_map(places).flat_map(cells)
    }

    /// As the page has it, of what came of the cells.
    fn table(&self, outcomes: &[Outcome]) -> String {
        let mut text = format!("### {}\n\n|", self.mode.name);
        for command in &self.commands {
            let name = command_name(*command);
            let _ = write!(text, " | {}", name.strip_prefix("TPM2_").unwrap());
        }
        text += " |\n|---|";
        text += &"---|".repeat(self.commands.len());
        text += "\n";
        let mut entries = outcomes.chunks(Library::ALL.len()).map(entry);
        for wrong in Wrong::ALL {
            let _ = write!(text, "| `{}`", wrong.name());
            for _ in &self.commands {
                let _ = write!(text, " | {}", entries.next().unwrap());
            }
            text += " |\n";
        }
        text + "\n"
    }
}

/// What there is that may never be.
fn holes<'a>(cell: &Cell<'_>, outcome: &'a Outcome) -> impl Iterator<Item = String> + 'a {
    let place = format!(
        "{}, {:?}, {} ({}), {}",
        cell.mode.name,
        cell.by,
        cell.place,
        command_name(cell.command),
        cell.wrong.name(),
    );
    let holes = outcome.holes.iter();
    holes.map(move |hole| format!("{place}: {hole}"))
}

#[test]
fn every_command_with_every_fault() {
    tdk_tests::open_many_files();
    let mut tables = String::from("\n");
    let ways = Mode::ALL.map(Way::new);
    let cells: Vec<_> = ways.iter().flat_map(Way::cells).collect();
    let outcomes = run(&cells);
    let pairs = cells.iter().zip(&outcomes);
    let holes: Vec<_> = pairs.flat_map(|(cell, of)| holes(cell, of)).collect();
    let mut rest = &outcomes[..];
    for way in &ways {
        let (of_way, others) = rest.split_at(way.cells().count());
        tables += &way.table(of_way);
        rest = others;
    }
    assert!(holes.is_empty(), "{holes:#?}");
    let path = project().join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    if std::env::var_os("TDK_WRITE_PAGES").is_some() {
        std::fs::write(path, [before, BEGIN, &tables, END, after].concat()).unwrap();
        return;
    }
    // Who is not root takes no turns, and leaves other things to the next request.
    let comparable = |text: &str| {
        if rustix::process::geteuid().is_root() {
            text.to_owned()
        } else {
            text.replace('*', "")
        }
    };
    let (shown, seen) = (comparable(shown), comparable(&tables));
    let lines = shown.lines().zip(seen.lines());
    let others: Vec<_> = lines.filter(|(shown, seen)| shown != seen).collect();
    assert!(others.is_empty(), "{PAGE} has other results: {others:#?}");
    assert_eq!(shown, seen, "{PAGE} has other results");
}
