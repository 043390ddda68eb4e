// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of a run, in Markdown, and the section of the page that has it.

use std::fmt::Write;
use std::path::Path;

use tdk_simulator::proxy::Chip;
use tpm_derived_keys::tpm::Patience;

use crate::run::{Level, Run};
use crate::size::Size;
use crate::targets::{self, Bound};
use crate::{
    Result, chips, commands, growth, guest, keys, plots, process, scale, stages, timing, upcall,
};

/// Everything, under headings.
pub(crate) fn table(run: &Run) -> String {
    let parts = [
        facts(run),
        targets(run),
        upcalls(run),
        processes(run),
        commands(run),
        stages(run),
        many_keys(run),
        levels(run),
        on_chips(run),
        growing(run),
        in_guest(run),
        missing(run),
    ];
    let parts = parts.iter().filter(|part| !part.is_empty());
    parts.cloned().collect::<Vec<_>>().join("\n")
}

/// The same with its pictures.
pub(crate) fn section(run: &Run, raw: &Path, pictures: &Path) -> Result<String> {
    let raw = raw.file_name().ok_or("the raw data has no name")?;
    let directory = pictures.file_name().ok_or("the page has no name")?;
    let mut text = format!(
        "\nRaw data: [benches/runs/{0}](../benches/runs/{0})\n\n",
        raw.display()
    );
    for picture in plots::ALL {
        if pictures.join(picture.file).exists() {
            let _ = writeln!(
                text,
                "![{}]({}/{})\n",
                picture.title,
                directory.display(),
                picture.file
            );
        }
    }
    Ok(text + &table(run) + "\n")
}

fn facts(run: &Run) -> String {
    let machine = &run.machine;
    let packages = machine.packages.iter();
    let packages: Vec<_> = packages
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let size = match run.size {
        Size::Full => String::new(),
        Size::Quick => "A quick run: few samples.\n".into(),
        Size::Test => {
            "A run that only shows that everything works: its numbers mean nothing.\n".into()
        }
    };
    format!(
        "{size}{}, {:.0} s, commit {}. {}, {} cores, {} MiB; {}, Linux {}. Load of the last \
         minute before and after: {:.2} and {:.2}.\n\n{}.\n",
        run.date,
        run.seconds,
        run.source,
        machine.processor,
        machine.cores,
        machine.memory_mib,
        machine.system,
        machine.kernel,
        run.load[0],
        run.load[1],
        packages.join(", "),
    )
}

fn targets(run: &Run) -> String {
    let targets = targets::of(run);
    if targets.is_empty() {
        return String::new();
    }
    let mut text = heading(
        "Targets",
        "| | ratio | bound | | of |\n|---|---:|---:|---|---|\n",
    );
    for target in &targets {
        let bound = match target.bound {
            Bound::Most(most) => format!("at most {most}"),
            Bound::Least(least) => format!("at least {least}"),
        };
        let verdict = if target.is_met() {
            "met".to_owned()
        } else {
            format!("missed by a factor of {:.2}", target.missed_by())
        };
        let _ = writeln!(
            text,
            "| {} | {} | {bound} | {verdict} | {} |",
            target.what,
            figure(target.ratio),
            target.how
        );
    }
    let mut missed = targets.iter().filter(|target| !target.is_met()).peekable();
    if missed.peek().is_some() {
        text += "\nWhat those are missed by, of the same medians:\n\n";
    }
    for target in missed {
        let _ = writeln!(text, "- {}: {}", target.what, target.why);
    }
    text
}

fn upcalls(run: &Run) -> String {
    let title = "One key through the kernel";
    let by_keyctl = compared(run, upcall::SECTION, upcall::ENCRYPTED, "`keyctl request2`");
    let alone = compared(
        run,
        upcall::SYSTEM_CALL,
        upcall::ENCRYPTED,
        "request_key(2) alone",
    );
    if by_keyctl.is_empty() {
        return String::new();
    }
    format!("{}{by_keyctl}\n{alone}", heading(title, ""))
}

fn processes(run: &Run) -> String {
    let rows = compared(run, process::SECTION, process::ENCRYPTED, "a process");
    let starts = compared(run, process::START, process::TRUE, "only started");
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "{}{rows}\n{starts}",
        heading("One key, whole processes", "")
    )
}

/// Medians, how they spread, and how many times one of them.
fn compared(run: &Run, section: &str, yardstick: &str, what: &str) -> String {
    let Some(than) = run.median(section, yardstick) else {
        return String::new();
    };
    let mut text = format!(
        "| {what} | median, ms | p10 | p90 | times \"{yardstick}\" | of |\n\
         |---|---:|---:|---:|---:|---:|\n"
    );
    for row in run.section(section) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            row.name,
            milliseconds(row.median()),
            milliseconds(timing::quantile(&row.micros, 0.1)),
            milliseconds(timing::quantile(&row.micros, 0.9)),
            figure(row.median() / than),
            row.micros.len(),
        );
    }
    text
}

fn commands(run: &Run) -> String {
    let mut text = String::new();
    for section in [commands::PLAIN, commands::ENCRYPTED, commands::NONE_KEPT] {
        for row in run.section(section) {
            let _ = writeln!(
                text,
                "| {section} | {} | {} |",
                row.name,
                figure(row.median())
            );
        }
    }
    if text.is_empty() {
        return text;
    }
    let head = "Time between a command and its answer, at the software TPM.\n\n\
                | | command | median, µs |\n|---|---|---:|\n";
    heading("What the TPM takes", head) + &text
}

fn stages(run: &Run) -> String {
    let mut text = String::new();
    for group in stages::GROUPS
        .into_iter()
        .filter(|group| *group != stages::KEYS)
    {
        for row in run.section(group) {
            let _ = writeln!(
                text,
                "| {group} | {} | {} |",
                row.name,
                figure(row.median())
            );
        }
    }
    if text.is_empty() {
        return text;
    }
    let head = "By criterion, one after the other. A search for an RSA key uses all cores, and takes \
                as long as its seed has it take; these are the seeds of the numbers 1, 2, 3 and so \
                on, as many as criterion comes to in its time. \
                [How long RSA keys take](#how-long-rsa-keys-take) has a hundred of each size.\n\n\
                | | | median, µs |\n|---|---|---:|\n";
    heading("Stages", head) + &text
}

fn many_keys(run: &Run) -> String {
    let mut text = String::new();
    for row in run.section(keys::SECTION).chain(run.section(stages::KEYS)) {
        let Some(count) = row.at else { continue };
        let operations = match run.median_at(keys::OPERATIONS, &row.name, count) {
            Some(operations) => format!("{operations}"),
            None => "1".into(),
        };
        let by = if row.section == keys::SECTION {
            row.name.as_str()
        } else {
            "the library"
        };
        let per_key = row.median() / number(count);
        let _ = writeln!(
            text,
            "| {by} | {count} | {operations} | {} | {} |",
            milliseconds(row.median()),
            figure(per_key)
        );
    }
    if text.is_empty() {
        return text;
    }
    let head = "One process, 32-byte keys, a plain conversation. A request_key(2) is a process \
                of its own each time, and so costs a TPM operation each time.\n\n\
                | by | keys | TPM2_HMAC commands | all together, ms | a key, µs |\n\
                |---|---:|---:|---:|---:|\n";
    heading("Many keys of one identity", head) + &text
}

fn levels(run: &Run) -> String {
    if run.levels.is_empty() {
        return String::new();
    }
    let head = "| TPM | askers at once | requests | failed | a second | p50, ms | p99, ms | to \
                one after another |\n|---|---:|---:|---:|---:|---:|---:|---:|\n";
    let mut text = heading("Many askers at once", head);
    for level in &run.levels {
        let alone = alone(run, &level.tpm);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            level.tpm,
            level.askers,
            level.micros.len() + level.failed,
            level.failed,
            figure(level.per_second()),
            milliseconds(level.quantile(0.5)),
            milliseconds(level.quantile(0.99)),
            alone.map_or_else(String::new, |alone| figure(level.per_second() / alone)),
        );
    }
    text + &served_in_time(run)
}

/// How many askers each chip serves before the last of them has waited for too long, by
/// the largest number that was tried.
fn served_in_time(run: &Run) -> String {
    let turn = Patience::default().turn.as_secs_f64();
    let of_chip = |chip: &Chip| {
        let levels = run.levels.iter().filter(|level| level.tpm == chip.name);
        let most = levels.max_by_key(|level| level.askers)?;
        let served = most.per_second() * turn;
        let (name, askers) = (chip.name, most.askers);
        Some(format!("{name} {served:.0} (by the row of {askers})"))
    };
    let chips: Vec<_> = Chip::ALL.iter().filter_map(of_chip).collect();
    if chips.is_empty() {
        return String::new();
    }
    format!(
        "\nA callout waits for its turn for {turn:.0} seconds. In that time a chip serves, computed \
         from what it served a second: {}.\n",
        chips.join(", ")
    )
}

/// Requests a second of one asker alone, on the same TPM.
fn alone(run: &Run, tpm: &str) -> Option<f64> {
    let is_alone = |level: &&Level| level.tpm == tpm && level.askers == 1;
    let alone: Vec<_> = run
        .levels
        .iter()
        .filter(is_alone)
        .map(Level::per_second)
        .collect();
    if alone.is_empty() {
        return None;
    }
    Some(alone.iter().sum::<f64>() / timing::count(alone.len()))
}

fn on_chips(run: &Run) -> String {
    let mut text = String::new();
    for way in chips::WAYS {
        for row in run.section(&chips::section(way)) {
            let _ = writeln!(
                text,
                "| {} | {way} | {} |",
                row.name,
                milliseconds(row.median())
            );
        }
    }
    if text.is_empty() {
        return text;
    }
    let head = "A request by `keyctl request2`, where the software TPM takes as long as a chip. \
                What nobody has published is assumed: \
                [simulator.md](simulator.md#how-long-real-chips-take) has each number.\n\n\
                | chip | | median, ms |\n|---|---|---:|\n";
    heading("On the latencies of real chips", head) + &text
}

fn growing(run: &Run) -> String {
    let mut text = String::new();
    for section in [growth::PATH, growth::CSUM, growth::RULES, growth::KEYRING] {
        let first = run.section(section).next().map(crate::run::Row::median);
        for row in run.section(section) {
            let _ = writeln!(
                text,
                "| {section} | {} | {} | {} |",
                row.at.unwrap_or_default(),
                milliseconds(row.median()),
                first.map_or_else(String::new, |first| figure(row.median() / first)),
            );
        }
    }
    if text.is_empty() {
        return text;
    }
    let head = "A request by `keyctl request2`, encrypted.\n\n\
                | | | median, ms | of the first |\n|---|---:|---:|---:|\n";
    heading("Growth", head) + &text
}

fn in_guest(run: &Run) -> String {
    let calls = compared(run, guest::SECTION, upcall::PLAIN, "request_key(2) alone");
    if calls.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    for row in run.section(guest::EXECUTABLES) {
        let first = run.median_at(guest::EXECUTABLES, &row.name, guest::SMALLEST);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            row.name,
            row.at.unwrap_or_default(),
            milliseconds(row.median()),
            first.map_or_else(String::new, |first| figure(row.median() / first)),
        );
    }
    let head = "Linux 6.12 with the series of [kernel.md](kernel.md), on an emulated processor: \
                only what is in these two tables can be compared.\n\n";
    let executables = "\nBy `keyctl request2`, whose executable has so many KiB, on ext4 under \
                       fs-verity; the callout's conversation is encrypted.\n\n\
                       | | KiB | median, ms | of the smallest |\n|---|---:|---:|---:|\n";
    format!(
        "{}{calls}{executables}{text}",
        heading("The key type in the kernel, and fs-verity", head)
    )
}

fn missing(run: &Run) -> String {
    if run.missing.is_empty() {
        return String::new();
    }
    let mut text = heading("Not measured", "");
    for missing in &run.missing {
        let _ = writeln!(text, "- {}: {}.", missing.what, missing.why);
    }
    text
}

fn heading(title: &str, head: &str) -> String {
    format!("### {title}\n\n{head}")
}

fn milliseconds(micros: f64) -> String {
    figure(micros / 1e3)
}

/// Three digits, or all of a whole number.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[allow(clippy::cast_precision_loss)] // Of a number of keys.
fn number(count: u64) -> f64 {
    count as f64
}

/// For those who draw.
pub(crate) fn swtpm_levels(run: &Run) -> Vec<&Level> {
    let levels = run.levels.iter();
    let mut levels: Vec<_> = levels.filter(|level| level.tpm == scale::SWTPM).collect();
    levels.sort_by_key(|level| level.askers);
    levels.dedup_by_key(|level| level.askers);
    levels
}
