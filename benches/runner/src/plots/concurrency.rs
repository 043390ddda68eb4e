// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Throughput and waiting over the number of askers at once.

use std::path::Path;

use plotters::prelude::*;

use super::lines::{Line, chart};
use crate::Result;
use crate::page::swtpm_levels;
use crate::run::{Level, Run};
use crate::timing;

pub(super) fn draw(run: &Run, file: &Path) -> Result<bool> {
    let levels = swtpm_levels(run);
    if levels.len() < 2 {
        return Ok(false);
    }
    let line = |name, color, value: &dyn Fn(&Level) -> f64| Line {
        name,
        color,
        points: levels
            .iter()
            .map(|level| (timing::count(level.askers), value(level)))
            .collect(),
    };
    let root = SVGBackend::new(file, (900, 400)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(450);
    let blue = RGBColor(20, 110, 170);
    let red = RGBColor(190, 60, 60);
    let throughput = [line("requests a second", blue, &Level::per_second)];
    chart(
        &left,
        "Throughput",
        "askers at once",
        "requests a second",
        &throughput,
        None,
    )?;
    let waits = [
        line("p99", red, &|level| level.quantile(0.99) / 1e3),
        line("p50", blue, &|level| level.quantile(0.5) / 1e3),
    ];
    chart(
        &right,
        "Waiting",
        "askers at once",
        "milliseconds",
        &waits,
        Some(SeriesLabelPosition::UpperLeft),
    )?;
    root.present()?;
    Ok(true)
}
