//! The metrics of embeddings, and their report: the ROC curve, the cumulative match characteristic, and the hardest
//! pairs.

use serde::Deserialize;

use crate::error::Result;
use crate::metrics::{
    Direction, IdentificationMetrics, Metric, MetricFormat, RESAMPLES, RocPoint, TaskMetrics,
    VerificationMetrics,
};
use crate::report::{
    ColumnKind, HardPair, ReportColumn, ReportPart, ReportTable, StageFiles, TableCell, TaskReport,
    TaskReporting, Tile, count, match_curve, number, percent, read_hard_pairs, read_matches, read_roc,
    roc_curve, significant,
};
use crate::task::confidence_intervals;

const AUC: Metric = Metric::new("verification.auc", "AUC", MetricFormat::Number, Direction::Higher).column(4);
const EER: Metric = Metric::new("verification.eer", "EER", MetricFormat::Percent, Direction::Lower);
const RANK1: Metric =
    Metric::new("identification.rank1", "rank 1", MetricFormat::Percent, Direction::Higher).column(5);
const MAP: Metric =
    Metric::new("identification.mean_average_precision", "mAP", MetricFormat::Share, Direction::Higher);

pub static METRICS: TaskMetrics = TaskMetrics {
    history: &[],
    evaluation: &[AUC, EER, RANK1, MAP],
    headline: &["verification.auc", "identification.rank1"],
};

pub static REPORTING: TaskReporting = TaskReporting {
    name: "recognition",
    metrics: &METRICS,
    files: &[&["roc.csv", "roc.svg", "roc.png", "hardest_pairs.csv", "cmc.csv", "cmc.svg", "cmc.png"]],
    is_of: |document| document.get("recognition").is_some(),
    report,
    compared: TaskReporting::NOTHING_COMPARED,
    compared_images: TaskReporting::NO_IMAGES_COMPARED,
};

/// The number of hardest pairs of each kind that are shown.
const SHOWN: usize = 6;

/// The content of `metrics.json`.
#[derive(Deserialize)]
struct Recognition {
    images: u64,
    /// Dimension of the embedding.
    dimension: u64,
    verification: Option<VerificationMetrics>,
    identification: Option<IdentificationMetrics>,
}

fn report(files: &StageFiles) -> Result<TaskReport> {
    let metrics: Recognition = files.json("metrics.json")?;
    let roc = files.table("roc.csv", read_roc)?;
    let cmc = files.table("cmc.csv", read_matches)?;
    let hardest = files.table("hardest_pairs.csv", read_hard_pairs)?;
    let mut parts = vec![ReportPart::Tiles(tiles(&metrics))];
    if metrics.identification.as_ref().is_some_and(|found| !found.intervals.is_empty()) {
        parts.push(confidence_intervals::note(RESAMPLES, "identities with their queries"));
    }
    if let Some(found) = &metrics.verification {
        parts.extend(verification(files.stage, found, metrics.dimension, &roc));
    }
    if let Some(found) = &metrics.identification {
        parts.extend(identification(files.stage, found, &cmc));
    }
    parts.extend((!hardest.is_empty()).then(|| ReportPart::Table(pairs(&hardest))));
    Ok(TaskReport { headline: headline(&metrics), parts })
}

fn headline(metrics: &Recognition) -> Vec<(&'static Metric, f64)> {
    let verified = metrics.verification.iter().flat_map(|found| [(&EER, found.eer), (&AUC, found.auc)]);
    let identified = metrics
        .identification
        .iter()
        .flat_map(|found| [(&RANK1, found.rank1), (&MAP, found.mean_average_precision)]);
    verified.chain(identified).collect()
}

fn tiles(metrics: &Recognition) -> Vec<Tile> {
    let mut tiles = Vec::new();
    if let Some(found) = &metrics.verification {
        tiles.push(Tile::new(percent(found.eer), "equal error rate"));
        tiles.push(Tile::new(number(found.auc), "area under the ROC curve"));
        tiles.extend(found.tar_at_far.iter().map(|at| {
            Tile::new(percent(at.tar), format!("TAR at FAR {}\u{a0}%", significant(at.far * 100.0, 3)))
        }));
        tiles.push(Tile::new(percent(found.accuracy), "accuracy at the best threshold"));
    }
    if let Some(found) = &metrics.identification {
        tiles.push(Tile::new(percent(found.rank1), "rank 1"));
        tiles.push(Tile::new(percent(found.rank5), "rank 5"));
        tiles.push(Tile::new(percent(found.mean_average_precision), "mAP"));
        let names = [("rank 1", "rank1"), ("rank 5", "rank5"), ("mAP", "mean_average_precision")];
        confidence_intervals::complete(&mut tiles, &found.intervals, &names);
    }
    tiles.push(Tile::new(count(metrics.images), "images"));
    tiles
}

fn verification(
    stage: &str,
    found: &VerificationMetrics,
    dimension: u64,
    roc: &[RocPoint],
) -> [ReportPart; 2] {
    let (genuine, impostors) = (count(found.genuine_pairs), count(found.impostor_pairs));
    let pairs = format!("{genuine} genuine pairs, {impostors} impostors; embeddings of {dimension} numbers");
    [ReportPart::Note(pairs), ReportPart::Picture(roc_curve(stage, found, roc))]
}

fn identification(stage: &str, found: &IdentificationMetrics, cmc: &[f64]) -> [ReportPart; 2] {
    let (queries, gallery) = (count(found.queries), count(found.gallery));
    let unmatched = count(found.unmatched_queries);
    let searched = format!(
        "{queries} queries, each looked up in {gallery} images; {unmatched} more have no match there"
    );
    let picture = match_curve(stage, found.mean_average_precision, cmc);
    [ReportPart::Note(searched), ReportPart::Picture(picture)]
}

/// They often include pairs with wrong labels and ambiguous images.
fn pairs(pairs: &[HardPair]) -> ReportTable {
    let of = |risk: &'static str| pairs.iter().filter(move |pair| pair.risk == risk).take(SHOWN);
    let row = |pair: &HardPair| -> Vec<TableCell> {
        let similarity = format!("{:.3}", pair.similarity);
        let [first, second] = [&pair.first, &pair.second].map(|path| path.as_str().into());
        vec![pair.risk.as_str().into(), similarity.into(), first, second]
    };
    ReportTable {
        title: "The hardest pairs".to_owned(),
        columns: vec![
            ReportColumn::new("risk", ColumnKind::Text),
            ReportColumn::new("similarity", ColumnKind::Number),
            ReportColumn::new("first", ColumnKind::File),
            ReportColumn::new("second", ColumnKind::File),
        ],
        rows: of("false reject").chain(of("false accept")).map(row).collect(),
        always_open: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_what_was_asked_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let stage = folder.path().join("stages/same");
        std::fs::create_dir_all(&stage).unwrap();
        let metrics = r#"{"images": 9, "dimension": 4, "broken_images": 0, "verification": null, "identification":
            {"queries": 8, "unmatched_queries": 1, "gallery": 8, "rank1": 0.5, "rank5": 1.0, "rank10": 1.0,
             "mean_average_precision": 0.75}}"#;
        std::fs::write(stage.join("metrics.json"), metrics).unwrap();
        std::fs::write(stage.join("cmc.csv"), "rank,queries_found\n1,0.5\n2,1.0\n").unwrap();
        let report = report(&StageFiles::new(folder.path(), "same")).unwrap();
        let headline: Vec<(&str, f64)> =
            report.headline.iter().map(|(metric, value)| (metric.title, *value)).collect();
        assert_eq!(headline, [("rank 1", 0.5), ("mAP", 0.75)]);
        let [ReportPart::Tiles(tiles), ReportPart::Note(note), ReportPart::Picture(_)] = &report.parts[..]
        else {
            panic!("tiles, a note and a picture: {:?}", report.parts);
        };
        assert_eq!(tiles.len(), 4);
        assert_eq!(note, "8 queries, each looked up in 8 images; 1 more have no match there");
    }
}
