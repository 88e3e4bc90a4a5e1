//! The numbers of a whole run, and what they were promised to be.

use super::decoder::Decoder;
use super::images::Image;
use super::measure::{Job, Run, CONTENDERS};
use super::numbers::median;

/// A figure of a run.
pub type Figure = fn(&Run) -> f64;

/// One image in one place.
pub struct Row<'a> {
    pub image: &'a Image,
    pub place: &'static str,
    pub decoder: &'a Decoder,
    /// In the order of the contenders: a run a round, or why there are none.
    pub cells: Vec<Result<Vec<Run>, String>>,
    /// Ours, without what is mapped from files.
    pub anonymous_mib: Option<f64>,
}

impl Row<'_> {
    /// `rounds` of each that `wanted` has, by turns; who fails once is not asked again.
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

    /// Of a contender's runs, if it has any.
    pub fn runs(&self, name: &str) -> Option<&[Run]> {
        let index = CONTENDERS.iter().position(|contender| contender.name == name)?;
        let runs = self.cells[index].as_ref().ok()?;
        Some(runs.as_slice()).filter(|runs| !runs.is_empty())
    }

    /// The median.
    pub fn of(&self, name: &str, figure: Figure) -> Option<f64> {
        Some(median(self.runs(name)?.iter().map(figure).collect()))
    }

    /// The most memory of a contender's largest process, over the rounds.
    pub fn rss_mib(&self, name: &str) -> Option<f64> {
        self.runs(name)?.iter().map(|run| run.rss_mib).max_by(f64::total_cmp)
    }

    /// Time of one over that of another, of their medians: those that the table shows.
    pub fn ratio(&self, above: &str, below: &str) -> Option<f64> {
        Some(self.of(above, |run| run.wall_s)? / self.of(below, |run| run.wall_s)?)
    }
}

/// A number, and what it was to be.
pub struct Promise {
    pub what: String,
    /// None: who was to be measured did not get through.
    pub value: Option<f64>,
    pub limit: f64,
    /// Whether the limit is the least or the most.
    pub least: bool,
}

impl Promise {
    pub fn kept(&self) -> bool {
        self.value.is_some_and(|value| if self.least { value >= self.limit } else { value <= self.limit })
    }
}

/// All, on every file system.
pub fn promises(rows: &[Row]) -> Vec<Promise> {
    let mut promises = Vec::new();
    for row in rows {
        let mut add = |what: &str, value, limit, least| {
            promises.push(Promise { what: format!("{}, {}: {what}", row.image.title, row.place), value, limit, least });
        };
        // Who does not get through is slower.
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
