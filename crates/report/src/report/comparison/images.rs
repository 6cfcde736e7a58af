//! Images side by side: the ground truth first, then what each group predicts, with misses and false alarms marked.

use image::{Rgb, RgbImage, imageops};

use super::{ImageAnswer, JudgedBox, Verdict};
use crate::error::Result;
use crate::report::boxes::{class_name, lay_over, scaled};
use crate::report::png::pixels;
use crate::report::svg::{Anchor, Font, Paint, Stroke, Svg};
use crate::report::text::{fit, width};

/// The width of a sheet, and the bounds of its cells.
const WIDTH: f64 = 1680.0;
const CELLS: [f64; 2] = [110.0, 320.0];
const MARGIN: f64 = 16.0;
const GAP: f64 = 8.0;
/// The height of the title, the legend and the headings.
const TOP: f64 = 92.0;
/// The height of the text below a row.
const TEXT: f64 = 36.0;

/// An image, and what each column shows of it.
pub struct ImageRow {
    pub file: String,
    /// The whole upright picture; boxes are in its pixels.
    pub picture: RgbImage,
    pub truth: ImageAnswer,
    /// For each group; `None` without a prediction for this image.
    pub answers: Vec<Option<ImageAnswer>>,
}

/// Draws a row for each image and a column for each label, after the ground truth.
///
/// # Errors
/// The layer of boxes and text cannot be rendered.
pub fn comparison_sheet(
    title: &str,
    labels: &[String],
    rows: &[ImageRow],
    classes: &[String],
) -> Result<RgbImage> {
    let columns = labels.len() as f64 + 1.0;
    let cell = ((WIDTH - 2.0 * MARGIN + GAP) / columns - GAP).floor().clamp(CELLS[0], CELLS[1]);
    let wide = 2.0 * MARGIN - GAP + columns * (cell + GAP);
    let height = |row: &ImageRow| {
        let ratio = f64::from(row.picture.height()) / f64::from(row.picture.width().max(1));
        (cell * ratio).round().clamp(1.0, 2.0 * cell)
    };
    let high = TOP + rows.iter().map(|row| height(row) + TEXT).sum::<f64>() + MARGIN;
    let mut sheet = RgbImage::from_pixel(wide as u32, high as u32, Rgb([255; 3]));
    let mut svg = Svg::transparent(title, wide, high);
    let column = |place: usize| MARGIN + place as f64 * (cell + GAP);
    head(&mut svg, title, wide, rows);
    let heading = Font::new(13.0, Paint::Ink, Anchor::Start).bold();
    for (place, label) in std::iter::once("truth").chain(labels.iter().map(String::as_str)).enumerate() {
        svg.text([column(place), TOP - 8.0], &fit(label, heading.size, cell / 1.08), heading);
    }
    let mut y = TOP;
    for row in rows {
        let room = height(row);
        let scale =
            (cell / f64::from(row.picture.width().max(1))).min(room / f64::from(row.picture.height().max(1)));
        let small = scaled(&row.picture, scale);
        let answers = std::iter::once(Some(&row.truth)).chain(row.answers.iter().map(Option::as_ref));
        for (place, answer) in answers.enumerate() {
            let at = [column(place), y];
            imageops::replace(&mut sheet, &small, at[0] as i64, at[1] as i64);
            let Some(answer) = answer else {
                let font = Font::new(12.0, Paint::Muted, Anchor::Start);
                svg.text([at[0], y + room + 14.0], "no prediction", font);
                continue;
            };
            let area = [f64::from(small.width()), f64::from(small.height())];
            answer.boxes.iter().for_each(|judged| frame(&mut svg, at, area, scale, judged));
            answer.boxes.iter().for_each(|judged| name(&mut svg, at, area, scale, judged, classes));
            if let Some(caption) = &answer.caption {
                let font = Font::new(12.0, Paint::Ink, Anchor::Start);
                svg.text([at[0], y + room + 14.0], &fit(caption, font.size, cell), font);
            }
        }
        let font = Font::new(11.0, Paint::Muted, Anchor::Start);
        svg.text([MARGIN, y + room + 28.0], &fit(&row.file, font.size, wide - 2.0 * MARGIN), font);
        y += room + TEXT;
    }
    lay_over(&mut sheet, &pixels(&svg, 1.0)?);
    Ok(sheet)
}

/// The title, and the meaning of the lines where there are boxes.
fn head(svg: &mut Svg, title: &str, wide: f64, rows: &[ImageRow]) {
    let font = Font::new(17.0, Paint::Ink, Anchor::Start).bold();
    svg.text([MARGIN, 30.0], &fit(title, font.size, (wide - 2.0 * MARGIN) / 1.08), font);
    if rows
        .iter()
        .all(|row| row.truth.boxes.is_empty() && row.answers.iter().flatten().all(|a| a.boxes.is_empty()))
    {
        return;
    }
    let mut x = MARGIN;
    let font = Font::new(12.0, Paint::Muted, Anchor::Start);
    for (verdict, meaning) in [
        (Verdict::Truth, "object"),
        (Verdict::Hit, "found"),
        (Verdict::FalseAlarm, "false alarm"),
        (Verdict::Missed, "missed"),
    ] {
        svg.line([x, 50.0], [x + 24.0, 50.0], stroke(verdict, 3.0));
        svg.text([x + 30.0, 54.0], meaning, font);
        x += 30.0 + width(meaning, font.size) + 22.0;
    }
    svg.text([x, 54.0], "boxes of each column from its own best confidence on", font);
}

fn stroke(verdict: Verdict, line: f64) -> Stroke {
    match verdict {
        Verdict::Truth => Stroke::new(Paint::Series(0), line),
        Verdict::Hit => Stroke::new(Paint::Series(2), line),
        Verdict::FalseAlarm => Stroke::new(Paint::Series(1), line),
        Verdict::Missed => Stroke::new(Paint::Series(4), line).dashed(),
    }
}

/// The corners of a box inside its cell; `None` of a box that is not on the image.
fn corners([x, y]: [f64; 2], [wide, high]: [f64; 2], scale: f64, judged: &JudgedBox) -> Option<[f64; 4]> {
    let shown = judged.shown;
    let inside = |value: f32, most: f64| (f64::from(value) * scale).clamp(1.0, (most - 1.0).max(1.0));
    let [left, right] = [shown.left, shown.right].map(|value| inside(value, wide));
    let [top, bottom] = [shown.top, shown.bottom].map(|value| inside(value, high));
    (left < right && top < bottom).then_some([x + left, y + top, x + right, y + bottom])
}

fn frame(svg: &mut Svg, at: [f64; 2], area: [f64; 2], scale: f64, judged: &JudgedBox) {
    let Some([left, top, right, bottom]) = corners(at, area, scale, judged) else { return };
    let size = [right - left, bottom - top];
    svg.frame([left, top], size, Stroke::new(Paint::Paper, 3.5));
    svg.frame([left, top], size, stroke(judged.verdict, 2.0));
}

/// The class, and the score of a prediction, on the upper edge of the box. That of a missed object is on the lower edge,
/// because a box of another class may be around the same object.
fn name(svg: &mut Svg, at: [f64; 2], area: [f64; 2], scale: f64, judged: &JudgedBox, classes: &[String]) {
    let Some([left, top, right, bottom]) = corners(at, area, scale, judged) else { return };
    let class = class_name(classes, judged.shown.class);
    let text = judged.shown.score.map_or_else(|| class.clone(), |score| format!("{class} {score:.2}"));
    let font = Font::new(10.0, Paint::OnHeat, Anchor::Start);
    let room = (at[0] + area[0] - left - 4.0).max(right - left);
    let text = fit(&text, font.size, room.max(20.0));
    let wide = width(&text, font.size) + 5.0;
    let left = left.min(at[0] + area[0] - wide).max(at[0]);
    let top = match judged.verdict {
        Verdict::Missed => bottom.min(at[1] + area[1] - 12.0),
        _ => (top - 12.0).max(at[1]),
    };
    let Stroke { paint, .. } = stroke(judged.verdict, 1.0);
    svg.rectangle([left, top], [wide, 12.0], paint, 1.0);
    svg.text([left + 2.5, top + 9.4], &text, font);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ImageBox;

    fn judged(verdict: Verdict, corners: [f32; 4]) -> JudgedBox {
        let [left, top, right, bottom] = corners;
        let score = (verdict != Verdict::Truth && verdict != Verdict::Missed).then_some(0.75);
        JudgedBox { shown: ImageBox { class: 0, score, left, top, right, bottom }, verdict }
    }

    fn row(size: [u32; 2]) -> ImageRow {
        let truth =
            ImageAnswer { caption: None, boxes: vec![judged(Verdict::Truth, [10.0, 10.0, 60.0, 60.0])] };
        let answer = |verdict| ImageAnswer {
            caption: Some("1 missed".to_owned()),
            boxes: vec![
                judged(verdict, [12.0, 10.0, 60.0, 60.0]),
                judged(Verdict::Missed, [f32::NAN, 0.0, 5.0, 5.0]),
                judged(Verdict::FalseAlarm, [500.0, 500.0, 900.0, 900.0]),
            ],
        };
        ImageRow {
            file: "streets/1.png".to_owned(),
            picture: RgbImage::from_pixel(size[0], size[1], Rgb([90, 120, 90])),
            truth,
            answers: vec![Some(answer(Verdict::Hit)), Some(answer(Verdict::FalseAlarm)), None],
        }
    }

    #[test]
    fn sheets_of_any_images_have_bounded_sizes_and_equal_bytes_every_time() {
        let labels = ["none", "freeze_1_to_3", "freeze_1_to_6"].map(str::to_owned);
        let rows = [[160, 160], [640, 120], [3, 900], [1, 1]].map(row);
        let draw = || comparison_sheet("streets", &labels, &rows, &["car".to_owned()]).unwrap();
        let sheet = draw();
        assert_eq!(sheet, draw());
        assert!(
            sheet.width() <= WIDTH as u32 && sheet.height() < 2000,
            "{} {}",
            sheet.width(),
            sheet.height()
        );
        // The left edge of the found object, in the column of the first group.
        let scale = 320.0 / 160.0;
        let at = [(MARGIN + 320.0 + GAP + 12.0 * scale) as u32, (TOP + 30.0 * scale) as u32];
        assert_eq!(sheet.get_pixel(at[0], at[1]), &Rgb([0x00, 0x9e, 0x73]));
        assert!(comparison_sheet("none", &[], &[], &[]).is_ok());
    }
}
