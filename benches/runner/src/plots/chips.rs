// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What one request takes on the latencies of real chips.

use std::path::Path;

use plotters::prelude::*;

use super::bars::{Bar, Part, stacked};
use crate::run::Run;
use crate::{Result, chips, upcall};

const PARTS: [Part; 2] = [
    Part {
        name: "as on the software TPM",
        color: RGBColor(240, 190, 90),
    },
    Part {
        name: "the chip, by published and assumed latencies",
        color: RGBColor(20, 110, 170),
    },
];

pub(super) fn draw(run: &Run, file: &Path) -> Result<bool> {
    let mut bars = Vec::new();
    let plain = chips::section(upcall::PLAIN);
    for chip in run.section(&plain).map(|row| &row.name) {
        for way in chips::WAYS {
            let whole = run.median(&chips::section(way), chip);
            let software = run.median(upcall::SECTION, way);
            if let (Some(whole), Some(software)) = (whole, software) {
                let way = way.trim_start_matches("direct, ").replace("storage ", "");
                let parts = [software, (whole - software).max(0.0)];
                bars.push(Bar {
                    name: format!("{chip}: {way}"),
                    parts: parts.map(|micros| micros / 1e3).into(),
                });
            }
        }
    }
    if bars.is_empty() {
        return Ok(false);
    }
    let root = SVGBackend::new(file, (900, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = "One request, by keyctl request2, on the latencies of chips";
    stacked(&root, title, "milliseconds, median", &PARTS, &bars)?;
    root.present()?;
    Ok(true)
}
