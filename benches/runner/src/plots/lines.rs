// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lines over a logarithmic axis.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::Result;

/// A line and what it is called.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) color: RGBColor,
    pub(super) points: Vec<(f64, f64)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws lines over a logarithmic x axis; y begins at zero, or, with a place for the
/// lines' names, is logarithmic too.
pub(super) fn chart(
    area: &Area<'_>,
    title: &str,
    x: &str,
    y: &str,
    lines: &[Line],
    names: Option<SeriesLabelPosition>,
) -> Result<()> {
    let values = || {
        lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.1)
    };
    let most = values().fold(0.0, f64::max);
    let least = values().fold(f64::INFINITY, f64::min);
    match names {
        Some(place) => {
            let range = (least / 2.0..most * 2.0).log_scale();
            draw(area, [title, x, y], lines, range, Some(place))
        }
        None => draw(area, [title, x, y], lines, 0.0..most * 1.25, None),
    }
}

fn draw<Y>(
    area: &Area<'_>,
    [title, x, y]: [&str; 3],
    lines: &[Line],
    range: Y,
    names: Option<SeriesLabelPosition>,
) -> Result<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let across = lines.iter().flat_map(|line| &line.points);
    let most = across.map(|point| point.0).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 17))
        .margin(10)
        .margin_right(25)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .build_cartesian_2d((0.9..most * 1.1).log_scale(), range)?;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&|value| number(*value))
        .y_label_formatter(&|value| number(*value))
        .light_line_style(WHITE)
        .axis_desc_style(("sans-serif", 14))
        .label_style(("sans-serif", 13))
        .draw()?;
    for line in lines {
        let color = line.color;
        chart
            .draw_series(LineSeries::new(line.points.clone(), color.stroke_width(2)))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        let dots = line
            .points
            .iter()
            .map(|point| Circle::new(*point, 3, color.filled()));
        chart.draw_series(dots)?;
    }
    if let Some(place) = names {
        chart
            .configure_series_labels()
            .position(place)
            .background_style(WHITE)
            .border_style(RGBColor(200, 200, 200))
            .label_font(("sans-serif", 13))
            .draw()?;
    }
    Ok(())
}

/// Without zeros that say nothing.
fn number(value: f64) -> String {
    if value >= 1.0 {
        format!("{value:.0}")
    } else {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}
