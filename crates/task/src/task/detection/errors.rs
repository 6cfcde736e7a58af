//! What goes wrong in an evaluation: types of errors with their costs, in `metrics.json`, as tables, as a figure and in
//! the report.

use super::predictions::{FoundObjects, image_box};
use super::targets::ground_truth;
use crate::data::Sample;
use crate::error::Result;
use crate::metrics::detection::{
    DetectionErrors, ErrorAnalysis, ErrorKind, ErrorSummary, EvaluatedImage, GroundTruth, Verdict,
};
use crate::report::{
    Bar, Bars, ColumnKind, ErrorRow, MeantObject, ReportColumn, ReportPart, ReportTable, StageFiles, Svg,
    TableCell, WrongBox, bars, count, errors_csv, percent, png, read_wrong_boxes, wrong_boxes_csv,
};
use crate::task::TaskFile;

/// The names of the files, in the order of the links.
pub const FILES: [&str; 4] = ["errors.csv", "errors.svg", "errors.png", WORST];

const WORST: &str = "errors_worst.csv";

/// The most wrong boxes that are listed in the table.
const LISTED: usize = 200;

/// The most wrong boxes that a report shows.
const SHOWN: usize = 12;

/// The errors of an evaluation, and their files. `confidence` is the best one of its scores.
pub fn of_evaluation(
    stage: &str,
    classes: &[String],
    predictions: &[(&Sample, FoundObjects)],
    confidence: Option<f64>,
) -> Result<(DetectionErrors, Vec<TaskFile>)> {
    let image = |(sample, found): &'_ (&Sample, FoundObjects)| ground_truth(sample, found.size);
    let truth: Vec<Vec<GroundTruth>> = predictions.iter().map(image).collect();
    let images: Vec<EvaluatedImage> = predictions
        .iter()
        .zip(&truth)
        .map(|((_, found), truth)| EvaluatedImage { detections: &found.objects, truth })
        .collect();
    let analysis = ErrorAnalysis::of(classes.len(), &images)?;
    let errors = analysis.finish(classes, confidence)?;
    let worst = analysis.most_confident(LISTED);
    let wrong = |(image, verdict): &(usize, Verdict)| {
        wrong_box(classes, (&predictions[*image].0.path, &images[*image]), verdict)
    };
    let worst: Vec<WrongBox> = worst.iter().map(wrong).collect();
    let picture = picture(stage, &errors);
    let [table, svg, bitmap, list] = FILES;
    let files = vec![
        TaskFile::new(table, errors_csv(&rows(&errors))),
        TaskFile::new(svg, picture.document()),
        TaskFile::new(bitmap, png(&picture)?),
        TaskFile::new(list, wrong_boxes_csv(&worst)),
    ];
    Ok((errors, files))
}

fn wrong_box(classes: &[String], (file, image): (&str, &EvaluatedImage), verdict: &Verdict) -> WrongBox {
    let name = |class: u32| classes[class as usize].clone();
    let object = verdict.object.map(|object| MeantObject {
        class: name(object.class),
        corners: image.truth[object.index].corners.map(|corner| corner as f32),
        iou: object.iou,
    });
    WrongBox {
        file: file.to_owned(),
        class: name(verdict.class),
        error: verdict.error.map(ErrorKind::name).unwrap_or_default().to_owned(),
        found: image_box(&image.detections[verdict.detection]),
        truth: object,
    }
}

fn rows(errors: &DetectionErrors) -> Vec<ErrorRow<'_>> {
    let all = std::iter::once(("all", &errors.all));
    let classes = errors.classes.iter().map(|class| (class.class.as_str(), &class.errors));
    all.chain(classes)
        .flat_map(|(class, summary)| {
            ErrorKind::ALL.map(|kind| {
                let cost = summary.cost(kind);
                let (count, confident, dap) = (cost.count, cost.confident, cost.dap);
                ErrorRow { class, error: kind.name(), count, confident, dap }
            })
        })
        .collect()
}

/// The name of a type for people.
pub fn title(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Classification => "wrong class",
        ErrorKind::Localisation => "wrong place",
        ErrorKind::Both => "wrong class and place",
        ErrorKind::Duplicate => "duplicate",
        ErrorKind::Background => "background",
        ErrorKind::Missed => "missed object",
        ErrorKind::FalsePositive => "all wrong boxes",
        ErrorKind::FalseNegative => "all objects not found",
    }
}

/// The six types, then the two sums.
const GROUPS: [&[ErrorKind]; 2] = [ErrorKind::ALL.split_at(6).0, ErrorKind::ALL.split_at(6).1];

fn picture(stage: &str, errors: &DetectionErrors) -> Svg {
    let all = &errors.all;
    let bar = |kind: &ErrorKind| {
        let cost = all.cost(*kind);
        Bar {
            name: title(*kind).to_owned(),
            value: cost.dap.map(|dap| dap * 100.0),
            notes: [count(cost.count), cost.confident.map(count).unwrap_or_default()],
        }
    };
    let groups = GROUPS.map(|kinds| kinds.iter().map(bar).collect());
    let confident = errors.confidence.map(|least| format!("from {least:.3} on")).unwrap_or_default();
    bars(
        stage,
        &Bars {
            heading: "What each type of error costs",
            x_title: "points of AP50 that would be gained without this type",
            note_titles: ["number", &confident],
            groups: &groups,
        },
    )
}

/// The parts of a report on a finished stage.
pub fn parts(files: &StageFiles, errors: &DetectionErrors) -> Result<Vec<ReportPart>> {
    let mut parts = vec![ReportPart::Picture(picture(files.stage, errors))];
    parts.push(ReportPart::Table(costs(errors)));
    let worst = files.table(WORST, read_wrong_boxes)?;
    parts.extend((!worst.is_empty()).then(|| ReportPart::Table(most_confident(&worst))));
    Ok(parts)
}

/// What each type costs in each class, in points of AP50.
fn costs(errors: &DetectionErrors) -> ReportTable {
    let [kinds, _] = GROUPS;
    let column = |kind: &ErrorKind| {
        let heading = match kind {
            ErrorKind::Classification => "class",
            ErrorKind::Localisation => "place",
            ErrorKind::Both => "both",
            ErrorKind::Missed => "missed",
            other => title(*other),
        };
        ReportColumn::new(heading, ColumnKind::Number)
    };
    let mut columns = vec![
        ReportColumn::new("class", ColumnKind::Name),
        ReportColumn::new("objects", ColumnKind::Number),
        ReportColumn::new("AP50", ColumnKind::Number),
    ];
    columns.extend(kinds.iter().map(column));
    let points = |dap: Option<f64>| dap.map_or_else(String::new, |dap| format!("{:.1}", dap * 100.0));
    let row = |class: &str, instances: u64, summary: &ErrorSummary| -> Vec<TableCell> {
        let mut cells: Vec<TableCell> =
            vec![class.into(), count(instances).into(), summary.ap50.map(percent).unwrap_or_default().into()];
        cells.extend(kinds.iter().map(|kind| points(summary.cost(*kind).dap).into()));
        cells
    };
    let instances = errors.classes.iter().map(|class| class.instances).sum();
    let classes = errors.classes.iter().map(|class| row(&class.class, class.instances, &class.errors));
    ReportTable {
        title: "Points of AP50 that errors cost, by class".to_owned(),
        columns,
        rows: std::iter::once(row("all", instances, &errors.all)).chain(classes).collect(),
        always_open: false,
    }
}

fn most_confident(worst: &[WrongBox]) -> ReportTable {
    let columns = [
        ("file", ColumnKind::File),
        ("predicted", ColumnKind::Name),
        ("confidence", ColumnKind::Number),
        ("error", ColumnKind::Text),
        ("object", ColumnKind::Name),
        ("IoU", ColumnKind::Number),
    ];
    let error = |name: &str| {
        let kind = ErrorKind::ALL.into_iter().find(|kind| kind.name() == name);
        kind.map_or_else(|| name.to_owned(), |kind| title(kind).to_owned())
    };
    let row = |wrong: &WrongBox| -> Vec<TableCell> {
        let object = wrong.truth.as_ref();
        vec![
            wrong.file.as_str().into(),
            wrong.class.as_str().into(),
            wrong.found.score.map(|score| format!("{score:.2}")).unwrap_or_default().into(),
            error(&wrong.error).into(),
            object.map(|object| object.class.as_str()).unwrap_or_default().into(),
            object.map(|object| format!("{:.2}", object.iou)).unwrap_or_default().into(),
        ]
    };
    ReportTable {
        title: "The most confident wrong boxes".to_owned(),
        columns: columns.map(|(heading, kind)| ReportColumn::new(heading, kind)).into(),
        rows: worst.iter().take(SHOWN).map(row).collect(),
        always_open: true,
    }
}
