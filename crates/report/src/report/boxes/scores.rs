//! The scores of boxes on a report's page: tiles, pictures and a table with a row for each class.

use crate::report::Svg;
use crate::report::parts::{ColumnKind, ReportColumn, ReportPart, ReportTable, TableCell, Tile};
use crate::report::text::{count, percent};

/// The scores of boxes over all classes that have ground truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxScores {
    pub precision: f64,
    pub recall: f64,
    pub ap50: f64,
    pub ap: f64,
}

/// A class of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxClassScores {
    pub class: String,
    /// The images with at least one box of the class.
    pub images: u64,
    pub instances: u64,
    /// `None` without ground truth. Such a class is not part of any mean.
    pub scores: Option<BoxScores>,
}

/// The parts of a page: tiles, a note on the confidence of precision and recall, `pictures`, and the table, whose first
/// row is `all`.
pub fn box_scores_parts(
    all: &BoxClassScores,
    confidence: Option<f64>,
    pictures: Vec<Svg>,
    classes: &[BoxClassScores],
) -> Vec<ReportPart> {
    let mut parts = vec![ReportPart::Tiles(tiles(all))];
    if let Some(confidence) = confidence {
        parts.push(ReportPart::Note(format!(
            "Precision and recall are at IoU 0.5 and confidence {confidence:.3}, where the mean F1 is highest."
        )));
    }
    parts.push(ReportPart::Table(table(all, classes)));
    parts.extend(pictures.into_iter().map(ReportPart::Picture));
    parts
}

fn tiles(all: &BoxClassScores) -> Vec<Tile> {
    let scores = all.scores.iter().flat_map(|scores| {
        [
            (scores.ap, "AP50-95"),
            (scores.ap50, "AP50"),
            (scores.precision, "precision"),
            (scores.recall, "recall"),
        ]
    });
    let scores = scores.map(|(value, name)| Tile::new(percent(value), name));
    scores
        .chain([Tile::new(count(all.images), "images"), Tile::new(count(all.instances), "objects")])
        .collect()
}

fn table(all: &BoxClassScores, classes: &[BoxClassScores]) -> ReportTable {
    let columns = [
        ("class", ColumnKind::Name),
        ("images", ColumnKind::Number),
        ("objects", ColumnKind::Number),
        ("precision", ColumnKind::Number),
        ("recall", ColumnKind::Number),
        ("AP50", ColumnKind::Number),
        ("AP50-95", ColumnKind::Number),
        ("", ColumnKind::Bar),
    ];
    ReportTable {
        title: "Classes".to_owned(),
        columns: columns.map(|(heading, kind)| ReportColumn::new(heading, kind)).into(),
        rows: std::iter::once(all).chain(classes).map(row).collect(),
        always_open: false,
    }
}

fn row(class: &BoxClassScores) -> Vec<TableCell> {
    let mut cells: Vec<TableCell> =
        vec![class.class.as_str().into(), count(class.images).into(), count(class.instances).into()];
    match class.scores {
        Some(BoxScores { precision, recall, ap50, ap }) => {
            cells.extend([precision, recall, ap50, ap].map(|value| percent(value).into()));
            cells.push(TableCell::Share(ap));
        }
        None => {
            cells.extend(["", "", "", ""].map(TableCell::from));
            cells.push("no ground truth".into());
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{
        CellText, ClassCurve, ClassCurves, MatrixPicture, ReportData, ShareOf, StageReport, TaskReport,
        class_curves, matrix_picture, report_html,
    };

    fn class(class: &str, instances: u64, ap: Option<f64>) -> BoxClassScores {
        let scores = ap.map(|ap| BoxScores { precision: 0.75, recall: 0.5, ap50: 0.625, ap });
        BoxClassScores { class: class.to_owned(), images: instances.min(12), instances, scores }
    }

    #[test]
    fn the_first_row_is_all_and_a_class_without_ground_truth_says_so() {
        let classes = [class("car", 1_200, Some(0.5)), class("tram", 0, None)];
        let parts = box_scores_parts(&class("all", 1_200, Some(0.5)), Some(0.38), vec![], &classes);
        let [ReportPart::Tiles(tiles), ReportPart::Note(note), ReportPart::Table(table)] = &parts[..] else {
            panic!("{parts:?}")
        };
        assert_eq!(tiles[0], Tile::new("50.0\u{a0}%", "AP50-95"));
        assert!(note.contains("confidence 0.380"));
        assert_eq!(table.rows[0][0], "all".into());
        assert_eq!(table.rows[2][7], "no ground truth".into());
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
        let empty = box_scores_parts(&class("all", 0, None), None, vec![], &[]);
        assert_eq!(empty.len(), 2);
    }

    /// An F1 curve with its maximum at `best`.
    fn f1(x: &[f64], height: f64, best: f64) -> Vec<f64> {
        let away = |x: f64| if x < best { (best - x) / best } else { (x - best) / (1.0 - best) };
        x.iter().map(|&x| height * (1.0 - away(x) * away(x))).collect()
    }

    /// A stage with invented results of six classes, one of them without ground truth.
    fn stage() -> StageReport {
        let found = [("car", 0.82), ("cyclist", 0.61), ("pedestrian", 0.55), ("tram", 0.9), ("truck", 0.7)];
        let x: Vec<f64> = (0..1000).map(|place| f64::from(place) / 999.0).collect();
        let curve = |values: fn(&[f64], f64) -> Vec<f64>| -> Vec<ClassCurve> {
            let curve = |&(class, ap): &(&str, f64)| ClassCurve {
                class: class.to_owned(),
                values: values(&x, ap),
                number: format!("{ap:.3}"),
            };
            found.iter().map(curve).collect()
        };
        let by_confidence = curve(|x, ap| f1(x, ap, 1.0 - ap));
        let by_recall =
            curve(|x, ap| x.iter().map(|x| if *x < ap { 1.0 - 0.2 * x * x } else { 0.0 }).collect());
        let mean = |curves: &[ClassCurve]| -> Vec<f64> {
            let at = |place: usize| curves.iter().map(|curve| curve.values[place]).sum::<f64>() / 5.0;
            (0..x.len()).map(at).collect()
        };
        let [mean_f1, mean_precision] = [&by_confidence, &by_recall].map(|curves| mean(curves));
        let picture = |heading, x_title, y_title, mean: &[f64], mark, number, classes: &[ClassCurve]| {
            let mean_number = number;
            class_curves(
                "test",
                &ClassCurves {
                    heading,
                    x_title,
                    y_title,
                    x: &x,
                    mean,
                    mean_number,
                    mark,
                    chance: None,
                    classes,
                },
            )
        };
        let counts = [
            vec![820, 3, 0, 2, 40, 90],
            vec![1, 240, 31, 0, 0, 25],
            vec![0, 22, 410, 0, 0, 60],
            vec![4, 0, 0, 96, 3, 1],
            vec![35, 0, 1, 2, 150, 12],
            vec![140, 95, 208, 6, 27, 0],
        ];
        let matrix = |text| {
            matrix_picture(&MatrixPicture {
                title: "test",
                subtitle: "confidence above 0.25, IoU above 0.45",
                names: found.iter().map(|class| class.0).chain(["background"]).collect(),
                counts: &counts,
                row_title: "predicted class",
                column_title: "true class",
                shares: ShareOf::Column,
                share_title: "share of the true class",
                text,
            })
        };
        let pictures = vec![
            picture(
                "Precision by recall",
                "recall",
                "precision at IoU 0.5",
                &mean_precision,
                None,
                "0.716",
                &by_recall,
            ),
            picture(
                "F1 by confidence",
                "confidence",
                "F1 at IoU 0.5",
                &mean_f1,
                Some([0.285, mean_f1[285]]),
                "0.70 at 0.285",
                &by_confidence,
            ),
            matrix(CellText::CountAlone),
            matrix(CellText::Share),
        ];
        let rows: Vec<BoxClassScores> =
            found.iter().map(|&(name, ap)| class(name, (ap * 1000.0) as u64, Some(ap))).collect();
        let rows = [rows, vec![class("van", 0, None)]].concat();
        let parts = box_scores_parts(&class("all", 3_580, Some(0.516)), Some(0.285), pictures, &rows);
        StageReport {
            name: "test".into(),
            kind: "evaluate".into(),
            evaluation: Some(TaskReport { headline: Vec::new(), parts }),
            ..StageReport::default()
        }
    }

    #[test]
    fn a_page_shows_the_scores_of_boxes() {
        let data = ReportData { name: "roads".into(), stages: vec![stage()], ..ReportData::default() };
        let page = report_html(&data);
        for shown in ["<span>AP50-95</span>", "no ground truth", "test: F1 by confidence", ">0.82<"] {
            assert!(page.contains(shown), "`{shown}` in {page}");
        }
    }
}
