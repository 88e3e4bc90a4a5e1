//! The results of a run, and the promises about them.

use super::decoder::Decoder;
use super::images::Image;
use super::measure::{Job, Run, CONTENDERS};
use super::numbers::median;

/// A figure of a run.
pub type Figure = fn(&Run) -> f64;

/// One image on one file system.
pub struct Row<'a> {
    pub image: &'a Image,
    pub place: &'static str,
    pub decoder: &'a Decoder,
    /// In the order of the contenders: one run for each round, or the reason of a failure.
    pub cells: Vec<Result<Vec<Run>, String>>,
    /// Our memory without pages that are mapped from files.
    pub anonymous_mib: Option<f64>,
}

impl Row<'_> {
    /// Runs each contender that is `wanted` `rounds` times, in turns; one that fails is not run again.
    pub fn measure<'a>(job: &Job<'a>, wanted: &dyn Fn(&str) -> bool, rounds: u32) -> Row<'a> {
        let (image, place, decoder) = (job.image, job.place.name, job.decoder);
        let mut cells: Vec<Result<Vec<Run>, String>> = CONTENDERS.iter().map(|_| Ok(Vec::new())).collect();
        for round in 1..=rounds {
            for (contender, cell) in CONTENDERS.iter().zip(&mut cells).filter(|(contender, _)| wanted(contender.name)) {
                let Ok(runs) = cell else { continue };
                let result = job.run(contender);
                let words = result.as_ref().map_or_else(|why| format!("failed: {why}"), Run::words);
                eprintln!("{:10} {place:5} {round}/{rounds}: {:14} {words}", image.name, contender.title);
                match result {
                    Ok(run) => runs.push(run),
                    Err(why) => *cell = Err(why),
                }
            }
        }
        let pulls = cells[0].as_ref().is_ok_and(|runs| !runs.is_empty());
        let anonymous_mib = if pulls { job.anonymous_mib(&CONTENDERS[0]).ok() } else { None };
        Row { image, place, decoder, cells, anonymous_mib }
    }

    /// A contender's runs, if there are any.
    pub fn runs(&self, name: &str) -> Option<&[Run]> {
        let index = CONTENDERS.iter().position(|contender| contender.name == name)?;
        let runs = self.cells[index].as_ref().ok()?;
        Some(runs.as_slice()).filter(|runs| !runs.is_empty())
    }

    /// The median of a figure over a contender's runs.
    pub fn of(&self, name: &str, figure: Figure) -> Option<f64> {
        Some(median(self.runs(name)?.iter().map(figure).collect()))
    }

    /// The most memory of a contender's largest process, over the rounds.
    pub fn rss_mib(&self, name: &str) -> Option<f64> {
        self.runs(name)?.iter().map(|run| run.rss_mib).max_by(f64::total_cmp)
    }

    /// The time of `above` divided by that of `below`: the medians that the table shows.
    pub fn ratio(&self, above: &str, below: &str) -> Option<f64> {
        Some(self.of(above, |run| run.wall_s)? / self.of(below, |run| run.wall_s)?)
    }
}

/// A number with its limit.
pub struct Promise {
    pub what: String,
    /// None if a contender failed.
    pub value: Option<f64>,
    pub limit: f64,
    /// Whether the limit is a minimum; otherwise it is a maximum.
    pub least: bool,
}

impl Promise {
    pub fn kept(&self) -> bool {
        self.value.is_some_and(|value| if self.least { value >= self.limit } else { value <= self.limit })
    }
}

/// All promises, for every image and file system.
pub fn promises(rows: &[Row]) -> Vec<Promise> {
    let mut promises = Vec::new();
    for row in rows {
        let mut add = |what: &str, value, limit, least| {
            promises.push(Promise { what: format!("{}, {}: {what}", row.image.title, row.place), value, limit, least });
        };
        // A contender that fails counts as slower.
        let through = row.runs("ours").is_some() && row.runs("podman").is_none();
        let podman = if through { Some(f64::INFINITY) } else { row.ratio("podman", "ours") };
        match row.image.name {
            "layers8" => {
                add("podman's time over ours", podman, 4.0, true);
                add("skopeo's and umoci's over ours", row.ratio("skopeo_umoci", "ours"), 4.0, true);
                add("ours over the floor's", row.ratio("ours", "floor"), 1.5, false);
            }
            "files" => add("ours over GNU tar's (the floor's)", row.ratio("ours", "floor"), 1.2, false),
            _ => {}
        }
        if row.image.name != "layers8" {
            add("podman's time over ours", podman, 1.0, true);
        }
        add("ours, peak RSS in MiB", row.rss_mib("ours"), 16.0, false);
    }
    promises
}
