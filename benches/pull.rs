//! From a registry to unpacked layers: this init, podman, skopeo and umoci, and the floor (a
//! decoder piped into tar), in one run. Writes `size-report/pull.{md,svg,json}`.
//!
//! `./dev bench pull [--rounds N] [--image NAME] [--only CONTENDER,…] [--on tmpfs|ext4]`: a run with
//! any of these options is a partial one, which is printed and not written.

#[path = "pull/chart.rs"]
mod chart;
#[path = "pull/decoder.rs"]
mod decoder;
#[path = "common/draw.rs"]
mod draw;
#[path = "pull/images.rs"]
mod images;
#[path = "pull/measure.rs"]
mod measure;
#[path = "common/numbers.rs"]
mod numbers;
#[path = "pull/outcome.rs"]
mod outcome;
#[path = "pull/places.rs"]
mod places;
#[path = "pull/report.rs"]
mod report;

use images::Image;
use measure::{Job, CONTENDERS};
use ocinit::host::registry::DockerRegistry;
use outcome::Row;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const ROUNDS: u32 = 5;

#[derive(Default)]
struct Options {
    rounds: Option<u32>,
    image: Option<String>,
    only: Option<String>,
    place: Option<String>,
}

fn main() -> ExitCode {
    let result = options().and_then(|options| run(&options));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench pull: {why}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--rounds" => {
                let number = value()?.parse().ok().filter(|n| *n > 0);
                options.rounds = Some(number.ok_or("--rounds wants a number from 1")?);
            }
            "--image" => options.image = Some(value()?),
            "--only" => options.only = Some(value()?),
            "--on" => options.place = Some(value()?),
            // cargo adds it.
            "--bench" => {}
            _ => return Err(format!("{word}: no such option; there are --rounds, --image, --only and --on")),
        }
    }
    Ok(options)
}

impl Options {
    fn wants(&self, contender: &str) -> bool {
        self.only.as_ref().is_none_or(|names| names.split(',').any(|name| name == contender))
    }

    fn whole(&self) -> bool {
        matches!(self, Options { rounds: None, image: None, only: None, place: None })
    }
}

fn run(options: &Options) -> Result<(), String> {
    if !CONTENDERS.iter().any(|contender| options.wants(contender.name)) {
        let names: Vec<&str> = CONTENDERS.iter().map(|contender| contender.name).collect();
        return Err(format!("no such contender; there are: {}", names.join(", ")));
    }
    places::enter()?;
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let images = images::all(options.image.as_deref())?;
    let scratch = places::scratch("scratch")?;
    let registry = DockerRegistry::start(&scratch.join("registry")).map_err(|error| error.to_string())?;
    let places = places::all(options.place.as_deref())?;
    let decoders = images.iter().map(|image| decoder::fastest(image, &scratch)).collect::<Result<Vec<_>, _>>()?;
    let facts = report::Facts::gather(rounds);
    let mut rows = Vec::new();
    for (image, decoder) in images.iter().zip(&decoders) {
        registry.push(&image.layout, "latest", image.name).map_err(|error| format!("{}: {error}", image.name))?;
        let blobs = floors_blobs(&scratch, image)?;
        for place in &places {
            let job = Job { image, place, registry: &registry, decoder, blobs: blobs.clone() };
            rows.push(Row::measure(&job, &|name| options.wants(name), rounds));
        }
    }
    println!("{}", report::table(&rows));
    if !options.whole() {
        println!("a partial run: nothing is written");
        return Ok(());
    }
    numbers::save("pull.md", &report::markdown(&rows, &facts))?;
    numbers::save("pull.json", &report::json(&rows, &facts))?;
    numbers::save("pull.svg", &chart::svg(&rows, &facts.machine))?;
    println!("written: size-report/pull.md, pull.svg, pull.json");
    let broken = report::broken(&rows);
    if broken.is_empty() {
        Ok(())
    } else {
        Err(format!("{} promises are not kept:\n  {}", broken.len(), broken.join("\n  ")))
    }
}

/// Copies the layers to a tmpfs, so that the disk is not measured, under names that sort from the lowest up.
fn floors_blobs(scratch: &Path, image: &Image) -> Result<PathBuf, String> {
    let dir = scratch.join(image.name);
    let copy = || -> std::io::Result<()> {
        std::fs::create_dir_all(&dir)?;
        for (index, blob) in image.blobs.iter().enumerate() {
            std::fs::copy(blob, dir.join(format!("{index:03}")))?;
        }
        Ok(())
    };
    copy().map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(dir)
}
