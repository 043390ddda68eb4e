// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every command of a derivation, with everything that can go wrong with it: the right
//! key or an errno, in time, and nothing left behind. The result is in
//! `docs/reliability.md`; with `TDK_WRITE_PAGES=1` it is written there.

mod cell;
mod mode;

use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cell::{Cell, Outcome, Wrong, undisturbed};
use mode::{Library, Mode};
use tdk_simulator::proxy::command_name;
use tdk_tests::project;

const PAGE: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- begin of the matrix -->\n";
const END: &str = "<!-- end of the matrix -->\n";

/// How many at once: those that mostly wait, the others.
const AT_ONCE: [usize; 2] = [80, 4];

/// Runs cells side by side, and gives what came of each.
fn run(cells: &[Cell], at_once: usize, state: &Path, expected: &[u8]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(vec![None; cells.len()]);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(cell) = cells.get(number)
                {
                    let outcome = cell.run(state, expected);
                    outcomes.lock().unwrap()[number] = Some(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    outcomes.into_iter().map(Option::unwrap).collect()
}

/// What came of the same place and fault, by both libraries.
fn entry(outcomes: &[&Outcome]) -> String {
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

/// A mode's table, and what there is that may never be.
fn table(mode: Mode, holes: &mut Vec<String>) -> String {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    mode.prepare(state);
    let (expected, commands) = undisturbed(mode, Library::Direct, state);
    let by_tss = undisturbed(mode, Library::Tss, state);
    assert_eq!(by_tss, (expected.clone(), commands.clone()), "{mode:?}");

    let mut cells = Vec::new();
    for wrong in Wrong::ALL {
        for (place, command) in commands.iter().enumerate() {
            cells.extend(Library::ALL.map(|by| Cell {
                mode,
                by,
                place: place + 1,
                command: *command,
                wrong,
            }));
        }
    }
    let (waiting, busy): (Vec<Cell>, Vec<Cell>) =
        cells.iter().copied().partition(|cell| cell.wrong.is_silent);
    let mut of_waiting = run(&waiting, AT_ONCE[0], state, &expected).into_iter();
    let mut of_busy = run(&busy, AT_ONCE[1], state, &expected).into_iter();
    let outcomes: Vec<_> = cells
        .iter()
        .map(|cell| {
            let of_kind = if cell.wrong.is_silent {
                &mut of_waiting
            } else {
                &mut of_busy
            };
            (cell, of_kind.next().unwrap())
        })
        .collect();

    for (cell, outcome) in &outcomes {
        for hole in &outcome.holes {
            let name = command_name(cell.command);
            holes.push(format!(
                "{}, {:?}, {} ({name}), {}: {hole}",
                mode.name,
                cell.by,
                cell.place,
                cell.wrong.name(),
            ));
        }
    }

    let mut text = format!("### {}\n\n|", mode.name);
    for command in &commands {
        let name = command_name(*command);
        let _ = write!(text, " | {}", name.strip_prefix("TPM2_").unwrap());
    }
    text += " |\n|---|";
    text += &"---|".repeat(commands.len());
    text += "\n";
    let mut rows = outcomes.chunks(Library::ALL.len());
    for wrong in Wrong::ALL {
        let _ = write!(text, "| `{}`", wrong.name());
        for _ in &commands {
            let outcomes: Vec<_> = rows.next().unwrap().iter().map(|(_, of)| of).collect();
            let _ = write!(text, " | {}", entry(&outcomes));
        }
        text += " |\n";
    }
    text + "\n"
}

#[test]
fn every_command_with_every_fault() {
    let mut tables = String::from("\n");
    let mut holes = Vec::new();
    for mode in Mode::ALL {
        tables += &table(mode, &mut holes);
    }
    println!("{tables}");
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
    for (shown, seen) in shown.lines().zip(seen.lines()) {
        assert_eq!(shown, seen, "{PAGE} has another result");
    }
    assert_eq!(shown, seen, "{PAGE} has other results");
}
