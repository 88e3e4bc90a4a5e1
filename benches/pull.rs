//! From a registry to unpacked layers: this init, podman, skopeo and umoci, and the floor (a
//! decoder piped into tar), in one run. Writes `size-report/pull.{md,svg,json}`.
//!
//! `./dev bench pull [--rounds N] [--image NAME] [--only CONTENDER] [--on tmpfs|ext4]`: with any
//! of these it is a part, which is told on the console and written nowhere.

#[path = "pull/decoder.rs"]
mod decoder;
#[path = "pull/images.rs"]
mod images;
#[path = "pull/measure.rs"]
mod measure;
#[path = "pull/places.rs"]
mod places;

use images::Image;
use measure::{Contender, Job, CONTENDERS};
use ocinit::host::registry::DockerRegistry;
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
            // cargo's own.
            "--bench" => {}
            _ => return Err(format!("{word}: unknown; there are --rounds, --image, --only and --on")),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), String> {
    let contenders: Vec<&Contender> =
        CONTENDERS.iter().filter(|one| options.only.as_ref().is_none_or(|name| name == one.name)).collect();
    if contenders.is_empty() {
        let names: Vec<&str> = CONTENDERS.iter().map(|one| one.name).collect();
        return Err(format!("no such contender; there are: {}", names.join(", ")));
    }
    places::enter()?;
    let images = images::all(options.image.as_deref())?;
    let scratch = places::scratch("scratch")?;
    let registry = DockerRegistry::start(&scratch.join("registry")).map_err(|error| error.to_string())?;
    let places = places::all(options.place.as_deref())?;
    for image in &images {
        registry.push(&image.layout, "latest", image.name).map_err(|error| format!("{}: {error}", image.name))?;
        let blobs = floors_blobs(&scratch, image)?;
        let decoder = decoder::fastest(image)?.words;
        let mb = |bytes: u64| bytes as f64 / 1e6;
        eprintln!("{}: {:.0} MB, {:.0} MB unpacked", image.title, mb(image.compressed_bytes), mb(image.raw_bytes));
        for place in &places {
            let job = Job { image, place, registry: &registry, decoder, blobs: &blobs };
            for round in 1..=options.rounds.unwrap_or(ROUNDS) {
                for contender in &contenders {
                    let words = job.run(contender).map_or_else(|why| why, measure::words);
                    eprintln!("{} {} {round}: {:14} {words}", image.name, place.name, contender.title);
                }
            }
            if contenders.iter().any(|one| one.name == "ours") {
                let mib = job.anonymous_mib(&CONTENDERS[0])?;
                eprintln!("{} {}: ocinit's own memory {mib:.1} MiB", image.name, place.name);
            }
        }
    }
    Ok(())
}

/// The layers under names that sort as they lie: on a tmpfs, so that the disk is not measured.
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
