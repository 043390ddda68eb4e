// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What one request takes, and what of it.

use std::path::Path;

use plotters::prelude::*;

use super::bars::{Bar, Part, stacked};
use crate::run::Run;
use crate::{Result, commands, process, upcall};

const PARTS: [Part; 4] = [
    Part {
        name: "keyctl, kernel, request-key, an empty callout",
        color: RGBColor(150, 150, 150),
    },
    Part {
        name: "starting programs",
        color: RGBColor(240, 190, 90),
    },
    Part {
        name: "the TPM",
        color: RGBColor(20, 110, 170),
    },
    Part {
        name: "the rest",
        color: RGBColor(190, 60, 60),
    },
];

pub(super) fn draw(run: &Run, file: &Path) -> Result<bool> {
    let ours = [
        ours(run, "callout, plain", upcall::PLAIN, commands::PLAIN),
        ours(
            run,
            "callout, encrypted",
            upcall::ENCRYPTED,
            commands::ENCRYPTED,
        ),
        ours(
            run,
            "callout, encrypted, no key kept",
            upcall::NONE_KEPT,
            commands::NONE_KEPT,
        ),
    ];
    let peers = [
        peer(
            run,
            "tpm2-tools and openssl",
            upcall::TOOLS,
            process::TOOLS_START,
        ),
        peer(
            run,
            "Python, tpm2-pytss",
            upcall::PYTHON,
            process::PYTHON_START,
        ),
    ];
    let ours: Vec<_> = ours.into_iter().flatten().collect();
    let peers: Vec<_> = peers.into_iter().flatten().collect();
    if ours.is_empty() || peers.is_empty() {
        return Ok(false);
    }
    let root = SVGBackend::new(file, (900, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let (top, bottom) = root.split_vertically(270);
    let unit = "milliseconds, median";
    stacked(&top, "One request, by keyctl request2", unit, &PARTS, &ours)?;
    stacked(
        &bottom,
        "The same by others, on another scale",
        unit,
        &PARTS,
        &peers,
    )?;
    root.present()?;
    Ok(true)
}

fn ours(run: &Run, name: &str, callout: &str, bus: &str) -> Option<Bar> {
    let start = run.median(process::START, process::CALLOUT)?;
    let tpm = run.median(bus, commands::ALL)?;
    bar(run, name, callout, start, tpm)
}

/// A plain conversation's commands. What else they send (tpm2-tools save and load contexts
/// between processes) was not measured by itself, and is in the rest.
fn peer(run: &Run, name: &str, callout: &str, start: &str) -> Option<Bar> {
    let start = run.median(process::START, start)?;
    let tpm = run.median(commands::PLAIN, commands::ALL)?;
    bar(run, name, callout, start, tpm)
}

fn bar(run: &Run, name: &str, callout: &str, start: f64, tpm: f64) -> Option<Bar> {
    let whole = run.median(upcall::SECTION, callout)?;
    let floor = run.median(upcall::SECTION, upcall::NOOP)?;
    // The floor has the start of one process in it already.
    let start = (start - run.median(process::START, process::TRUE)?).max(0.0);
    let rest = (whole - floor - start - tpm).max(0.0);
    let parts = [floor, start, tpm, rest];
    Some(Bar {
        name: name.into(),
        parts: parts.map(|micros| micros / 1e3).into(),
    })
}
