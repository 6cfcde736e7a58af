//! Sheets of a comparison: images with their truth and what each row of the table predicts for them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::report::{
    ComparedImage, ComparedImages, ImageAnswer, ImageRow, RunComparison, StageFiles, comparison_sheet, jpeg,
};
use crate::run::RunDirectory;
use crate::run::evaluated::finished_task;
use crate::run::stage_images::StageImages;

/// The rows of a sheet.
const ROWS: usize = 6;

/// A sheet as JPEG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedSheet {
    /// Such as `images_0.jpg`.
    pub name: String,
    pub jpeg: Vec<u8>,
}

/// Draws up to `most` images of the compared evaluation: those with the most different numbers of mistakes first, then
/// those with the most mistakes. Of each row, the first run is shown. Empty if the task shows no images.
///
/// # Errors
/// The folder of the images is unknown, or an image cannot be read. `folder` names it, if the runs know another one.
pub fn compared_sheets(
    comparison: &RunComparison,
    folder: Option<&Path>,
    most: usize,
) -> Result<Vec<ComparedSheet>> {
    let Some(stage) = &comparison.evaluation else { return Ok(Vec::new()) };
    let mut columns = Vec::new();
    for group in &comparison.groups {
        let Some(run) = group.runs.first() else { continue };
        columns.push(Column::read(&group.label, &RunDirectory::open(&run.run_dir)?, stage)?);
    }
    let columns: Vec<Column> =
        columns.into_iter().filter(|column| !column.images.images.is_empty()).collect();
    let Some(first) = columns.first() else { return Ok(Vec::new()) };
    let labels: Vec<String> = columns.iter().map(|column| column.label.clone()).collect();
    let shown: Vec<&str> = most_different(&columns).into_iter().take(most).collect();
    let images = StageImages::of(&first.run, stage, folder)?;
    let mut sheets = Vec::new();
    for (number, files) in shown.chunks(ROWS).enumerate() {
        let rows = files.iter().map(|file| row(file, &columns, &images)).collect::<Result<Vec<_>>>()?;
        let title = format!("{}: {stage}", comparison.title);
        let sheet = comparison_sheet(&title, &labels, &rows, &first.images.classes)?;
        sheets.push(ComparedSheet { name: format!("images_{number}.jpg"), jpeg: jpeg(&sheet)? });
    }
    Ok(sheets)
}

/// A run, and what it predicts.
struct Column {
    label: String,
    run: RunDirectory,
    images: ComparedImages,
}

impl Column {
    fn read(label: &str, run: &RunDirectory, stage: &str) -> Result<Self> {
        let task = finished_task(run, stage)?;
        let images =
            task.map(|task| (task.compared_images)(&StageFiles::new(run.path(), stage), None)).transpose()?;
        Ok(Self { label: label.to_owned(), run: run.clone(), images: images.unwrap_or_default() })
    }
}

/// The images by the range of mistakes over the columns, then by their sum, then by path.
fn most_different(columns: &[Column]) -> Vec<&str> {
    let mut mistakes: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (file, image) in columns.iter().flat_map(|column| &column.images.images) {
        mistakes.entry(file).or_default().push(image.mistakes);
    }
    let key = |counts: &[u64]| {
        let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        (most.unwrap_or(0) - least.unwrap_or(0), counts.iter().sum::<u64>())
    };
    let mut files: Vec<(&str, (u64, u64))> =
        mistakes.iter().map(|(file, counts)| (*file, key(counts))).collect();
    files.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    files.into_iter().map(|(file, _)| file).collect()
}

fn row(file: &str, columns: &[Column], images: &StageImages) -> Result<ImageRow> {
    let of = |column: &Column| column.images.images.get(file).cloned();
    let truth: ImageAnswer =
        columns.iter().find_map(of).map(|ComparedImage { truth, .. }| truth).unwrap_or_default();
    let answers = columns.iter().map(|column| of(column).map(|image| image.predicted)).collect();
    Ok(ImageRow { file: file.to_owned(), picture: images.picture(file)?, truth, answers })
}
