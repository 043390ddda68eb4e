// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The time a key takes, over how many of one identity are derived at a time.

use std::path::Path;

use plotters::prelude::*;

use super::lines::{Line, chart};
use crate::run::{Row, Run};
use crate::{Result, keys, stages, upcall};

pub(super) fn draw(run: &Run, file: &Path) -> Result<bool> {
    let library = points(run.section(stages::KEYS));
    let processes = run.section(keys::SECTION);
    let tdk = points(processes.filter(|row| row.name == keys::FILE));
    if library.len() < 2 || tdk.len() < 2 {
        return Ok(false);
    }
    let mut lines = Vec::new();
    if let Some(request) = run.median(upcall::SYSTEM_CALL, upcall::PLAIN) {
        lines.push(Line {
            name: "request_key(2): a TPM operation each time",
            color: RGBColor(190, 60, 60),
            points: tdk.iter().map(|(count, _)| (*count, request)).collect(),
        });
    }
    lines.push(Line {
        name: "tdk derive, a process: one TPM operation",
        color: RGBColor(230, 160, 50),
        points: tdk,
    });
    lines.push(Line {
        name: "the library: one TPM operation",
        color: RGBColor(20, 110, 170),
        points: library,
    });
    let root = SVGBackend::new(file, (900, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = "32-byte keys of one identity, a plain conversation";
    chart(
        &root,
        title,
        "keys",
        "microseconds a key",
        &lines,
        Some(SeriesLabelPosition::LowerLeft),
    )?;
    root.present()?;
    Ok(true)
}

fn points<'r>(rows: impl Iterator<Item = &'r Row>) -> Vec<(f64, f64)> {
    let counted = rows.filter_map(|row| Some((row.at?, row.median())));
    #[allow(clippy::cast_precision_loss)] // Of a number of keys.
    let points = counted.map(|(count, micros)| (count as f64, micros / count as f64));
    points.collect()
}
