// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bars that lie and are made of parts.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Result;
use crate::timing;

/// One bar: its name and what it is made of.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) parts: Vec<f64>,
}

/// What a part is called, and its colour: light ones and dark ones, for grey paper.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) color: RGBColor,
}

/// Draws them, the first on top, each with its sum; with a legend below them.
pub(super) fn stacked(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    unit: &str,
    parts: &[Part],
    bars: &[Bar],
) -> Result<()> {
    let sums = bars.iter().map(|bar| bar.parts.iter().sum::<f64>());
    let longest = sums.fold(0.0, f64::max) * 1.15;
    let count = timing::count(bars.len());
    let (chart, legend) = area.split_vertically(area.dim_in_pixel().1 - 28);
    let mut chart = ChartBuilder::on(&chart)
        .caption(title, ("sans-serif", 17))
        .margin(8)
        .margin_right(20)
        .x_label_area_size(40)
        .y_label_area_size(260)
        .build_cartesian_2d(0.0..longest, 0.0..count)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_labels(8)
        .light_line_style(WHITE)
        .x_desc(unit)
        .axis_desc_style(("sans-serif", 14))
        .x_label_style(("sans-serif", 13))
        .draw()?;
    let middle = |at: usize| count - timing::count(at) - 0.5;
    for (number, part) in parts.iter().enumerate() {
        chart.draw_series(bars.iter().enumerate().map(|(at, bar)| {
            let left: f64 = bar.parts[..number].iter().sum();
            let right = left + bar.parts[number];
            let corners = [(left, middle(at) - 0.3), (right, middle(at) + 0.3)];
            Rectangle::new(corners, part.color.filled())
        }))?;
    }
    let style = |side| {
        let font = ("sans-serif", 14).into_text_style(area);
        font.pos(Pos::new(side, VPos::Center))
    };
    for (at, bar) in bars.iter().enumerate() {
        let sum: f64 = bar.parts.iter().sum();
        let name = Text::new(bar.name.clone(), (-8, 0), style(HPos::Right));
        let length = Text::new(figure(sum), (6, 0), style(HPos::Left));
        let area = chart.plotting_area();
        area.draw(&(EmptyElement::at((0.0, middle(at))) + name))?;
        area.draw(&(EmptyElement::at((sum, middle(at))) + length))?;
    }
    let mut x = 20;
    for part in parts {
        let square = [(x, 6), (x + 14, 20)];
        legend.draw(&Rectangle::new(square, part.color.filled()))?;
        let place = (x + 20, 13);
        legend.draw(&Text::new(part.name, place, style(HPos::Left)))?;
        x += 40 + 8 * i32::try_from(part.name.len())?;
    }
    Ok(())
}

fn figure(value: f64) -> String {
    if value < 20.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}
