//! The samples as a table for other programs.

use super::SearchReport;
use super::groups::value_text;
use crate::csv_cells;
use crate::report::text::shortest;

const IN_MEMORY: &str = "memory takes every byte";

/// A row for each sample, the best first.
pub fn search_csv(search: &SearchReport) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let settings = search.settings.iter().map(|setting| csv_cells::text(&setting.name).into_owned());
    let rungs = search.rungs.iter().enumerate().map(|(rung, of)| match of.epochs {
        Some(epochs) => format!("{} after {epochs} epochs", search.metric),
        None => format!("{} in rung {}", search.metric, rung + 1),
    });
    let header = ["rank", "sample"].map(str::to_owned).into_iter();
    let header = header
        .chain(settings)
        .chain(["rung".to_owned(), "end".to_owned()])
        .chain(rungs)
        .chain(["run".to_owned()]);
    writer.write_record(header).expect(IN_MEMORY);
    for (place, sample) in search.samples.iter().enumerate() {
        let values = sample.values.iter().map(|value| csv_cells::text(&value_text(value)).into_owned());
        let metric =
            |rung: usize| sample.metrics.get(rung).map_or_else(String::new, |metric| shortest(*metric));
        let row = [(place + 1).to_string(), sample.sample.to_string()].into_iter();
        let row = row.chain(values).chain([sample.rung.to_string(), sample.end.as_str().to_owned()]);
        let row =
            row.chain((0..search.rungs.len()).map(metric)).chain([sample.run.clone().unwrap_or_default()]);
        writer.write_record(row).expect(IN_MEMORY);
    }
    String::from_utf8(writer.into_inner().expect(IN_MEMORY)).expect("the table is text")
}
