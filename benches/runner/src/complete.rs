// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a whole run has: everything that the page, its targets and its pictures need. A
//! page that silently lacks a row looks as if all were well.

use std::fmt::Write;

use tdk_simulator::proxy::Chip;

use crate::run::Run;
use crate::size::Size;
use crate::{Result, chips, commands, growth, guest, keys, process, scale, stages, upcall};

/// Rows that differ in their name.
const NAMED: [(&str, &[&str]); 11] = [
    (
        upcall::SECTION,
        &[
            upcall::NOOP,
            upcall::PLAIN,
            upcall::ENCRYPTED,
            upcall::NONE_KEPT,
            upcall::PIPE,
            upcall::TOOLS,
            upcall::PYTHON,
        ],
    ),
    (
        upcall::SYSTEM_CALL,
        &[
            upcall::NOOP,
            upcall::PLAIN,
            upcall::ENCRYPTED,
            upcall::NONE_KEPT,
            upcall::PIPE,
        ],
    ),
    (
        process::SECTION,
        &[
            process::PLAIN,
            process::ENCRYPTED,
            process::NONE_KEPT,
            process::TOOLS,
            process::UNSEAL,
            process::PYTHON,
            process::CLEVIS,
        ],
    ),
    (
        process::START,
        &[
            process::TRUE,
            process::CALLOUT,
            process::TOOLS_START,
            process::PYTHON_START,
        ],
    ),
    (commands::PLAIN, &[commands::ALL]),
    (commands::ENCRYPTED, &[commands::ALL]),
    (commands::NONE_KEPT, &[commands::ALL]),
    (stages::STAGE, &stages::STAGES),
    (stages::SEARCH, &stages::SEARCHES),
    (stages::ENCODING, &stages::ENCODINGS),
    (
        guest::SECTION,
        &[
            upcall::NOOP,
            upcall::PLAIN,
            upcall::ENCRYPTED,
            upcall::IN_KERNEL,
        ],
    ),
];

/// Rows that differ in how long or how many as well.
const COUNTED: [(&str, &[&str], &[u64]); 8] = [
    (stages::KEYS, &[stages::KEYS], &keys::COUNTS),
    (keys::SECTION, &keys::HOW, &keys::COUNTS),
    (keys::OPERATIONS, &keys::HOW, &keys::COUNTS),
    (growth::PATH, &[growth::PATH], &growth::LENGTHS),
    (growth::CSUM, &[growth::CSUM], &growth::KIB),
    (growth::RULES, &[growth::RULES], &growth::COUNTS),
    (growth::KEYRING, &[growth::KEYRING], &growth::KEYS),
    (guest::EXECUTABLES, &guest::inside::WAYS, &guest::SIZES),
];

/// Fails if a full run is none.
pub(crate) fn check(run: &Run) -> Result<()> {
    if run.size != Size::Full {
        return Ok(());
    }
    let lacking = lacking(run);
    if lacking.is_empty() {
        return Ok(());
    }
    let mut text = String::from("the run is not whole, so the page stays as it is. It lacks");
    for what in lacking {
        let _ = write!(text, "\n  {what}");
    }
    for missing in &run.missing {
        let _ = write!(text, "\nnot run: {} ({})", missing.what, missing.why);
    }
    Err(text.into())
}

/// What a run of full size should have, and this one does not.
pub(crate) fn lacking(run: &Run) -> Vec<String> {
    let mut lacking = Vec::new();
    let has = |section: &str, name: &str, at: Option<u64>| {
        run.section(section)
            .any(|row| row.name == name && (at.is_none() || row.at == at) && !row.micros.is_empty())
    };
    for (section, names) in NAMED {
        let names = names.iter().filter(|name| !has(section, name, None));
        lacking.extend(names.map(|name| format!("{section}: {name}")));
    }
    for (section, names, counts) in COUNTED {
        let places = names
            .iter()
            .flat_map(|name| counts.iter().map(move |at| (name, *at)));
        let places = places.filter(|(name, at)| !has(section, name, Some(*at)));
        lacking.extend(places.map(|(name, at)| format!("{section}: {name}, {at}")));
    }
    for chip in Chip::ALL {
        let sections = chips::WAYS.map(chips::section);
        let sections = sections.iter().filter(|way| !has(way, chip.name, None));
        lacking.extend(sections.map(|way| format!("{way}: {}", chip.name)));
    }
    let swtpm = scale::LEVELS.iter().map(|askers| (scale::SWTPM, *askers));
    // How many more a chip can serve in time is seen by trying.
    let alone = Chip::ALL.map(|chip| (chip.name, 1));
    for (tpm, askers) in swtpm.chain(alone) {
        let mut levels = run.levels.iter();
        if !levels.any(|level| level.tpm == tpm && level.askers == askers) {
            lacking.push(format!("askers at once, {tpm}: {askers}"));
        }
    }
    lacking
}

/// A run that has all of it, with the same time everywhere.
#[cfg(test)]
pub(crate) fn example() -> Run {
    use crate::run::Level;

    let mut run: Run = serde_json::from_str(
        r#"{"date":"2000-01-01T00:00:00Z","size":"full","machine":{"processor":"","cores":1,
        "memory_mib":1,"kernel":"","system":"","packages":{}},"source":"","load":[0,0],
        "seconds":1,"rows":[],"levels":[],"missing":[]}"#,
    )
    .unwrap();
    for (section, names) in NAMED {
        for name in names {
            run.add(section, *name, None, vec![1000.0]);
        }
    }
    for (section, names, counts) in COUNTED {
        for name in names {
            for at in counts {
                run.add(section, *name, Some(*at), vec![1000.0]);
            }
        }
    }
    for chip in Chip::ALL {
        for way in chips::WAYS {
            run.add(&chips::section(way), chip.name, None, vec![1000.0]);
        }
    }
    let swtpm = scale::LEVELS.iter().map(|askers| (scale::SWTPM, *askers));
    let alone = Chip::ALL.map(|chip| (chip.name, 1));
    for (tpm, askers) in swtpm.chain(alone) {
        run.levels.push(Level {
            tpm: tpm.into(),
            askers,
            seconds: 1.0,
            micros: vec![1000.0; askers],
            failed: 0,
        });
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{page, plots, targets};

    #[test]
    fn a_whole_run_has_all_targets_and_pictures() {
        let run = example();
        check(&run).unwrap();
        assert_eq!(targets::lacking(&run), 0);
        let directory = tempfile::tempdir().unwrap();
        plots::draw(&run, directory.path()).unwrap();
        for picture in plots::ALL {
            let file = directory.path().join(picture.file);
            assert!(file.exists(), "{}", picture.file);
        }
        let table = page::table(&run);
        assert!(!table.contains("NaN"), "{table}");
    }

    #[test]
    fn a_run_that_lacks_a_row_fails_and_says_which() {
        let rows = example().rows.len();
        for number in 0..rows {
            let mut run = example();
            let row = run.rows.remove(number);
            let error = check(&run).unwrap_err().to_string();
            assert!(error.contains(&row.section), "{error}");
            assert!(error.contains(&row.name), "{error}");
            run.size = Size::Test;
            check(&run).unwrap();
        }
        let levels = example().levels.len();
        for number in 0..levels {
            let mut run = example();
            let level = run.levels.remove(number);
            let error = check(&run).unwrap_err().to_string();
            assert!(error.contains(&level.tpm), "{error}");
        }
        let mut run = example();
        run.rows[0].micros.clear();
        check(&run).unwrap_err();
    }
}
