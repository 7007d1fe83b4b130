//! Draws what `fanout` and `cores` have written: cost against burst, viewers and cores.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use plotters::prelude::*;
use serde_json::Value;

/// Size of a picture in pixels: two fit side by side into a page of text.
const SIZE: (u32, u32) = (760, 440);

/// How much further up than the lines the axis goes: there is the legend.
const LEGEND: f64 = 8.0;

/// Colours that can be told apart by everybody (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 0, 0),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];

#[derive(Parser)]
#[command(about = "Draws what fanout and cores have measured")]
struct Options {
    /// What `fanout --json` wrote with many bursts.
    #[arg(long)]
    bursts: PathBuf,
    /// What it wrote for each number of viewers.
    #[arg(long, num_args = 1..)]
    viewers: Vec<PathBuf>,
    /// What `cores --json` wrote.
    #[arg(long)]
    cores: PathBuf,
    /// The folder for the pictures.
    #[arg(long, default_value = "bench/curves")]
    out: PathBuf,
}

/// A line: its name and its points.
type Series = (String, Vec<(f64, f64)>);

/// What a picture says beside its lines.
struct Words<'a> {
    title: &'a str,
    across: &'a str,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("plot: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    fs::create_dir_all(&options.out).map_err(|error| error.to_string())?;
    let out = |name: &str| options.out.join(name);
    let bursts = read(&options.bursts)?;
    for (nth, name) in ["burst-segmenting.svg", "burst-splitting.svg"]
        .into_iter()
        .enumerate()
    {
        let sink = &bursts["sinks"][nth];
        let what = sink["sink"].as_str().unwrap_or_default();
        let words = Words {
            title: &format!(
                "CPU time per packet against burst: {}",
                what.replace(" (as many cards do)", "")
            ),
            across: "packets of a burst",
        };
        draw(&out(name), &words, &against_burst(sink))?;
    }
    let mut viewers: Vec<Series> = Vec::new();
    for path in &options.viewers {
        let all = read(path)?;
        let count = all["viewers"].as_f64().ok_or("no number of viewers")?;
        for (name, points) in against_burst(&all["sinks"][0]) {
            // A frame.
            let Some((_, ns)) = points
                .into_iter()
                .find(|(burst, _)| (burst - 9.0).abs() < 0.5)
            else {
                continue;
            };
            match viewers.iter_mut().find(|(known, _)| *known == name) {
                Some((_, points)) => points.push((count, ns)),
                None => viewers.push((name, vec![(count, ns)])),
            }
        }
    }
    let words = Words {
        title: "CPU time per packet against viewers: bursts of 9, device that segments UDP",
        across: "viewers of one core",
    };
    draw(&out("viewers.svg"), &words, &viewers)?;
    let cores = read(&options.cores)?;
    let lines: Vec<Series> = list(&cores["sinks"])
        .iter()
        .map(|sink| {
            let rows = list(&sink["rows"]).iter();
            let points =
                rows.filter_map(|row| Some((row["cores"].as_f64()?, row["ns_median"].as_f64()?)));
            (
                sink["sink"].as_str().unwrap_or_default().to_owned(),
                points.collect(),
            )
        })
        .collect();
    let words = Words {
        title: "CPU time per packet against cores: one log, one port",
        across: "cores",
    };
    draw(&out("cores.svg"), &words, &lines)
}

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The rows of a table that a reader wants to compare, by burst. libsrtp's cost does not depend on
/// it: its cheaper row is a line across.
fn against_burst(sink: &Value) -> Vec<Series> {
    let rows = list(&sink["rows"]);
    let of = |name: &str| -> Vec<(f64, f64)> {
        let rows = rows.iter().filter(|row| row["name"] == name);
        rows.filter_map(|row| Some((row["burst"].as_f64()?, row["ns_median"].as_f64()?)))
            .collect()
    };
    let mut lines = Vec::new();
    let first = of("freshet, sendmmsg");
    let classic = [
        "libsrtp, sendto: packet by packet",
        "libsrtp, sendto: viewer by viewer",
    ];
    let classic = classic.iter().flat_map(|name| of(name)).map(|(_, ns)| ns);
    let classic = classic.fold(f64::INFINITY, f64::min);
    if classic.is_finite() {
        let across = first.iter().map(|(burst, _)| (*burst, classic));
        lines.push(("libsrtp and sendto".to_owned(), across.collect()));
    }
    for name in [
        "freshet, sendmmsg",
        "freshet, io_uring",
        "freshet, AF_XDP",
        "freshet, nothing sent",
        "cipher alone",
    ] {
        let points = of(name);
        if !points.is_empty() {
            lines.push((name.to_owned(), points));
        }
    }
    lines
}

fn draw(path: &Path, words: &Words<'_>, lines: &[Series]) -> Result<(), String> {
    let points = lines.iter().flat_map(|(_, points)| points);
    let (mut least, mut most, mut top) = (f64::INFINITY, 0.0_f64, 0.0_f64);
    for (x, y) in points {
        (least, most, top) = (least.min(*x), most.max(*x), top.max(*y));
    }
    if !least.is_finite() {
        return Err(format!("{}: there is nothing to draw", path.display()));
    }
    let wide = most / least > 4.0;
    let drawn = if wide {
        chart(path, words, lines, (least..most).log_scale(), top)
    } else {
        chart(path, words, lines, least - 0.2..most + 0.2, top)
    };
    drawn.map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

fn chart<X>(
    path: &Path,
    words: &Words<'_>,
    lines: &[Series],
    across: X,
    top: f64,
) -> Result<(), Box<dyn std::error::Error>>
where
    X: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    X::CoordDescType: plotters::coord::ranged1d::ValueFormatter<f64>,
{
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(words.title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(across, (100.0..top * LEGEND).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(words.across)
        .y_desc("ns per packet, less is better")
        .x_label_formatter(&|x| match (x - x.round()).abs() < 0.01 {
            true => format!("{x:.0}"),
            false => String::new(),
        })
        .y_label_formatter(&|y| format!("{y:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    root.present()?;
    Ok(())
}
