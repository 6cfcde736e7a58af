//! The table as CSV.

use super::{Difference, MeanStd, RunComparison};
use crate::csv_cells;
use crate::report::tables::{IN_MEMORY, text};

/// Mean, standard deviation and number of runs of every metric, including those that are not shown; and the difference
/// from the baseline.
pub fn comparison_csv(comparison: &RunComparison) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header = vec!["runs", "measure", "mean", "sd", "n", "part"];
    if comparison.baseline.is_some() {
        header.extend(["difference", "difference_sd", "pairs", "difference_low", "difference_high"]);
    }
    writer.write_record(&header).expect(IN_MEMORY);
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    for group in &comparison.groups {
        let metrics = group.metrics.iter().map(|(name, measure)| (name.as_str(), Some(*measure)));
        for (name, measure) in group.own().into_iter().chain(metrics) {
            let Some(MeanStd { mean, sd, n }) = measure else { continue };
            let part = group.parts.get(name).map_or("", |part| part.name());
            let [label, measure] =
                [group.label.as_str(), name].map(|text| csv_cells::text(text).into_owned());
            let mut row = vec![label, measure, mean.to_string(), number(sd), n.to_string(), part.to_owned()];
            if comparison.baseline.is_some() {
                row.extend(match group.differences.get(name) {
                    None => Default::default(),
                    Some(Difference { mean, sd, pairs, interval }) => {
                        let ends = [0, 1].map(|end| number(interval.map(|interval| interval[end])));
                        let [low, high] = ends;
                        [mean.to_string(), number(*sd), pairs.to_string(), low, high]
                    }
                });
            }
            writer.write_record(&row).expect(IN_MEMORY);
        }
    }
    text(writer)
}

#[cfg(test)]
mod tests {
    use super::super::tests::comparison;
    use super::*;

    #[test]
    fn every_metric_has_a_row() {
        let mut overlay = comparison();
        let csv = comparison_csv(&overlay);
        assert!(
            csv.contains("b,test/accuracy,0.5,,1,test\n") && csv.contains("a,test/odd,1,0,3,test\n"),
            "{csv}"
        );
        overlay.compare_with("b");
        let csv = comparison_csv(&overlay);
        assert!(csv.contains("b,test/accuracy,0.5,,1,test,,,,,\n"), "{csv}");
        let row = csv.lines().find(|line| line.starts_with("a,test/accuracy,")).unwrap();
        assert!(row.contains(",3,test,0.19") && row.ends_with(",,1,,"), "one pair: {row}");
    }
}
