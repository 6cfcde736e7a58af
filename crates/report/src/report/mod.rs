//! Reports: curves, confusion matrices, tables and the one-page HTML, as bytes. Nothing here writes to the disk. No
//! code here depends on a task's name: the page renders the neutral parts that a task returns.
//!
//! A figure is drawn once, as an [`Svg`]; the PNG and the page show the same drawing. Everything depends only on the
//! results, without clock, paths or system fonts. Equal results therefore give equal bytes.

mod axis;
mod bars;
mod best;
mod boxes;
mod circumstances;
mod class_curves;
pub mod code_paths;
mod comparison;
mod confusion;
mod curves;
mod data;
mod explained;
mod history;
mod html;
mod html_data;
mod html_parts;
mod html_stage;
mod live;
mod lr_curve;
mod parts;
mod plot;
mod png;
mod recognition;
mod regression;
mod reliability;
mod reporting;
mod samples;
mod search;
mod subsets;
mod svg;
mod tables;
mod text;

pub use bars::{Bar, Bars, bars};
pub use boxes::{
    BoxClassScores, BoxEpoch, BoxScores, ErrorRow, ImageBox, ImageBoxes, MOST_IN_SHEET, MeantObject,
    RESULTS_HEADER, SheetImage, WrongBox, box_scores_parts, boxes_csv, boxes_json, coco_results, errors_csv,
    image_png, jpeg, picture_of_boxes, read_boxes, read_wrong_boxes, results_csv, rgb_image, sheet,
    wrong_boxes_csv, yolo_text,
};
pub use circumstances::{RunChanges, RunTimes, minute};
pub use class_curves::{
    ClassCurve, ClassCurves, MOST_CURVES, class_curves, class_curves_csv, read_class_curves,
};
pub use comparison::{
    Column, ComparedCurve, ComparedEvaluation, ComparedImage, ComparedImages, ComparedMatrix, ComparedNumber,
    ComparedRun, Difference, GroupCurves, GroupMatrices, Heading, ImageAnswer, ImageRow, JudgedBox, MeanStd,
    MetricSplit, RunComparison, RunGroup, Unit, Verdict, comparison_csv, comparison_html, comparison_sheet,
    comparison_svg, group_curves, group_curves_csv, group_curves_svg, group_matrices,
};
pub use confusion::{CellText, MatrixPicture, ShareOf, confusion_matrix, matrix_picture};
pub use curves::curves;
pub use data::{BatchNormCounts, ParameterCounts, ReportData, StageReport, TrainingMetrics};
pub use explained::{ExplainedImage, explained_sheet};
pub use history::{HistoryRow, history_csv, read_history};
pub use html::report_html;
pub use live::{LiveRun, LiveStage, live_list_html, live_run_html};
pub use lr_curve::lr_curve;
pub use parts::{
    ColumnKind, Photo, ReportColumn, ReportPart, ReportTable, TableCell, TaskReport, Tile, mistakes,
};
pub use png::png;
pub use recognition::{
    HardPair, hard_pairs_csv, match_csv, match_curve, read_hard_pairs, read_matches, read_roc, roc_csv,
    roc_curve,
};
pub use regression::Regression;
pub use reliability::{reliability_csv, reliability_diagram};
pub use reporting::{StageFiles, TaskOf, TaskReporting};
pub use samples::{ClassSamples, SampleImage, SampleImages};
pub use search::{
    RungReport, SampleEnd, SampleReport, SearchReport, SearchState, SettingGroup, search_csv, search_html,
    search_svg, searched_groups,
};
pub use subsets::{SubsetColumns, SubsetRow, subset_table, subsets_csv};
pub use svg::Svg;
pub use tables::{
    CheckedLabel, OutOfFoldRow, Prediction, broken_csv, confusion_csv, label_check_csv, labels_csv,
    matrix_csv, new_images_csv, out_of_fold_csv, prediction_classes, predictions_csv, read_matrix,
    read_predictions, thresholds_csv,
};
pub use text::{
    column_text, count, duration, freeze_summary, number, percent, shortest, significant, unfreeze_summary,
    value_text,
};
