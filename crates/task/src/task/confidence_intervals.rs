//! The confidence intervals of an evaluation's scores, in `metrics.json` and in a report.

use serde::{Deserialize, Serialize};

use crate::metrics::{CONFIDENCE_LEVEL, Intervals, RESAMPLES};
use crate::report::{ReportPart, Tile, count, percent};

/// The intervals of scores, by their names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfidenceIntervals {
    /// Such as 0.95.
    pub level: f64,
    /// The number of samples, drawn with replacement.
    pub resamples: u32,
    /// The number of groups that are drawn, if images come in groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
    pub scores: Intervals,
}

impl ConfidenceIntervals {
    /// `groups` has the group of each image. `grouped` says whether a group may have several.
    pub fn new(scores: Intervals, groups: &[usize], grouped: bool) -> Self {
        let units = groups.iter().max().map_or(0, |last| last + 1);
        Self { level: CONFIDENCE_LEVEL, resamples: RESAMPLES, groups: grouped.then_some(units), scores }
    }

    /// Adds intervals to the tiles of scores, by the tile's name and the score's.
    pub fn complete(&self, parts: &mut [ReportPart], names: &[(&str, &str)]) {
        if let Some(ReportPart::Tiles(tiles)) = parts.first_mut() {
            complete(tiles, &self.scores, names);
        }
    }

    /// What the intervals are, for a page.
    pub fn note(&self) -> ReportPart {
        let units = match self.groups {
            Some(groups) => format!("{} groups", count(groups as u64)),
            None => "images".to_owned(),
        };
        note(self.resamples, &units)
    }
}

/// What intervals are, from so many samples of units such as images.
pub fn note(resamples: u32, units: &str) -> ReportPart {
    let resamples = count(u64::from(resamples));
    ReportPart::Note(format!(
        "Intervals: 95 %, by the bootstrap, from {resamples} samples of {units} with replacement."
    ))
}

/// Adds intervals to the names of tiles.
pub fn complete(tiles: &mut [Tile], intervals: &Intervals, names: &[(&str, &str)]) {
    for tile in tiles.iter_mut() {
        let score = names.iter().find(|(name, _)| *name == tile.name);
        if let Some(interval) = score.and_then(|(_, score)| in_words(intervals, score)) {
            tile.name = format!("{} ({interval})", tile.name);
        }
    }
}

/// The interval of a score, such as `66.3–84.3 %`.
pub fn in_words(intervals: &Intervals, name: &str) -> Option<String> {
    let [low, high] = intervals.get(name)?;
    let low = percent(*low);
    Some(format!("{}–{}", low.trim_end_matches(['%', '\u{a0}']), percent(*high)))
}
