//! The confusion matrix as a heat map, from two classes to a hundred.

use super::svg::{Anchor, Font, Paint, Stroke, Svg};
use super::text::{count, fit, percent, width};
use crate::metrics::ClassificationScores;

/// The approximate size of the matrix. Cells do not become smaller than [`CELLS`].
const SIDE: f64 = 640.0;
const CELLS: [f64; 2] = [8.0, 84.0];
/// Cells of at least the first size show counts; cells of at least the second size also show fractions of the row.
const COUNTS_FROM: f64 = 20.0;
const SHARES_FROM: f64 = 46.0;
/// The maximum width of a class name in pixels. Longer names are shortened in the middle.
const LONGEST_NAME: f64 = 170.0;
/// Above this fraction, the cell is dark and its text is white. At this value both text colours have a contrast of 4.
const DARK: f64 = 0.7;

struct MatrixLayout {
    cell: f64,
    left: f64,
    top: f64,
    side: f64,
    name_size: f64,
    names: Vec<String>,
    /// The rotation of the names below the columns, in degrees.
    turn: f64,
}

/// A matrix of counts, such as a confusion matrix. Rows and columns have the same names.
pub struct MatrixPicture<'a> {
    /// Usually the stage's name.
    pub title: &'a str,
    pub subtitle: &'a str,
    pub names: Vec<&'a str>,
    /// A row for each name.
    pub counts: &'a [Vec<u64>],
    pub row_title: &'a str,
    pub column_title: &'a str,
    pub shares: ShareOf,
    /// The title of the colour scale.
    pub share_title: &'a str,
    pub text: CellText,
}

/// What the colour of a cell is a fraction of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareOf {
    Row,
    Column,
}

/// The text of a cell that is large enough for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellText {
    /// In the largest cells also the fraction, in per cent.
    Count,
    CountAlone,
    /// With two decimals. A cell that would show `0.00` is blank.
    Share,
}

/// Fractions below this are `0.00` with two decimals.
const BLANK: f64 = 0.005;

/// Draws the matrix of `metrics`, with true classes as rows and predicted ones as columns. The colour is the fraction
/// of each row.
pub fn confusion_matrix(title: &str, metrics: &ClassificationScores) -> Svg {
    let subtitle = format!("accuracy {}, {} images", percent(metrics.accuracy), count(metrics.samples));
    matrix_picture(&MatrixPicture {
        title,
        subtitle: &subtitle,
        names: metrics.per_class.iter().map(|class| class.class.as_str()).collect(),
        counts: &metrics.confusion_matrix,
        row_title: "true class",
        column_title: "predicted class",
        shares: ShareOf::Row,
        share_title: "share of the true class",
        text: CellText::Count,
    })
}

/// Draws a matrix as a heat map.
pub fn matrix_picture(matrix: &MatrixPicture) -> Svg {
    let layout = MatrixLayout::new(matrix);
    let MatrixPicture { title, subtitle, .. } = matrix;
    let names_below = layout.height_of_names();
    let heading = width(title, 17.0).max(width(subtitle, 13.0)) * 1.08;
    let right = (layout.left + layout.side + 104.0).max(24.0 + heading + 24.0);
    let bottom = layout.top + layout.side.max(120.0) + names_below + 44.0;
    let mut svg = Svg::new(&format!("{title}: confusion matrix, {subtitle}"), right.ceil(), bottom.ceil());
    svg.text([24.0, 34.0], title, Font::new(17.0, Paint::Ink, Anchor::Start).bold());
    svg.text([24.0, 55.0], subtitle, Font::new(13.0, Paint::Muted, Anchor::Start));
    cells(&mut svg, &layout, matrix);
    names(&mut svg, &layout, matrix);
    let middle = layout.side / 2.0;
    let axis = Font::new(13.0, Paint::Ink, Anchor::Middle).bold();
    let below = layout.top + layout.side + names_below + 26.0;
    svg.text([layout.left + middle, below], matrix.column_title, axis);
    svg.text([32.0, layout.top + middle], matrix.row_title, axis.rotated(-90.0));
    scale(&mut svg, &layout, matrix.share_title);
    svg
}

impl MatrixPicture<'_> {
    /// The sums that the counts of each row or column are fractions of.
    fn totals(&self) -> Vec<u64> {
        match self.shares {
            ShareOf::Row => self.counts.iter().map(|row| row.iter().sum()).collect(),
            ShareOf::Column => {
                let of_column = |column: usize| self.counts.iter().filter_map(|row| row.get(column)).sum();
                (0..self.names.len()).map(of_column).collect()
            }
        }
    }
}

impl MatrixLayout {
    fn new(matrix: &MatrixPicture) -> Self {
        let classes = matrix.names.len().max(1) as f64;
        let cell = (SIDE / classes).floor().clamp(CELLS[0], CELLS[1]);
        let name_size = (cell * 0.85).clamp(7.0, 13.0);
        let names: Vec<String> = matrix.names.iter().map(|name| fit(name, name_size, LONGEST_NAME)).collect();
        let longest = names.iter().map(|name| width(name, name_size)).fold(0.0, f64::max);
        let turn = match cell {
            _ if longest <= cell - 6.0 => 0.0,
            28.0.. => -45.0,
            _ => -90.0,
        };
        Self { cell, left: 52.0 + longest.ceil(), top: 76.0, side: cell * classes, name_size, names, turn }
    }

    fn height_of_names(&self) -> f64 {
        let longest = self.names.iter().map(|name| width(name, self.name_size)).fold(0.0, f64::max);
        match self.turn {
            0.0 => 20.0,
            -45.0 => (longest + self.name_size) * std::f64::consts::FRAC_1_SQRT_2 + 10.0,
            _ => longest + 8.0,
        }
    }

    fn corner(&self, row: usize, column: usize) -> [f64; 2] {
        [self.left + column as f64 * self.cell, self.top + row as f64 * self.cell]
    }
}

fn cells(svg: &mut Svg, layout: &MatrixLayout, matrix: &MatrixPicture) {
    let gap = if layout.cell >= 14.0 { 1.0 } else { 0.0 };
    let widest = match matrix.text {
        CellText::Share => "0.00".len(),
        _ => matrix.counts.iter().flatten().max().map_or(1, |most| count(*most).len()),
    } as f64;
    let two_lines = matrix.text == CellText::Count && layout.cell >= SHARES_FROM;
    // Digits and commas are at most 0.65 of their size wide.
    let share_of_cell = if two_lines { 0.3 } else { 0.42 };
    let size = (layout.cell * share_of_cell).min((layout.cell - 4.0) / (widest * 0.65)).min(16.0);
    let totals = matrix.totals();
    for (row, counts) in matrix.counts.iter().enumerate() {
        for (column, &cell) in counts.iter().enumerate().filter(|&(_, &cell)| cell > 0) {
            let [x, y] = layout.corner(row, column);
            let total = totals[if matrix.shares == ShareOf::Row { row } else { column }];
            let share = cell as f64 / total as f64;
            if matrix.text == CellText::Share && share < BLANK {
                continue;
            }
            // A single mistake among many images must be visible, especially if no count is shown.
            let opacity = share.max(if layout.cell < COUNTS_FROM { 0.1 } else { 0.03 });
            svg.rectangle([x, y], [layout.cell - gap; 2], Paint::Heat, opacity);
            if layout.cell < COUNTS_FROM || size < 6.0 {
                continue;
            }
            let paint = if share >= DARK { Paint::OnHeat } else { Paint::Ink };
            let middle = [x + (layout.cell - gap) / 2.0, y + (layout.cell - gap) / 2.0];
            let font = Font::new(size, paint, Anchor::Middle);
            if two_lines {
                let small = Font { size: (layout.cell * 0.2).min(12.0), ..font };
                svg.text([middle[0], middle[1] - 1.0], &count(cell), font.bold());
                svg.text([middle[0], middle[1] + small.size + 3.0], &percent(share), small);
                continue;
            }
            let text = match matrix.text {
                CellText::Share => format!("{share:.2}"),
                _ => count(cell),
            };
            svg.text([middle[0], middle[1] + size * 0.36], &text, font);
        }
    }
    let stroke = Stroke::new(Paint::Axis, 1.0);
    svg.frame([layout.left - 0.5, layout.top - 0.5], [layout.side + 1.0 - gap; 2], stroke);
}

fn names(svg: &mut Svg, layout: &MatrixLayout, matrix: &MatrixPicture) {
    let below = layout.top + layout.side;
    let font = Font::new(layout.name_size, Paint::Ink, Anchor::End);
    for (i, (name, &class)) in layout.names.iter().zip(&matrix.names).enumerate() {
        let whole = (name != class).then_some(class);
        let middle = (i as f64 + 0.5) * layout.cell;
        let lift = layout.name_size * 0.36;
        svg.text_with_title([layout.left - 8.0, layout.top + middle + lift], name, whole, font);
        let x = layout.left + middle;
        match layout.turn {
            0.0 => {
                svg.text_with_title([x, below + 17.0], name, whole, Font { anchor: Anchor::Middle, ..font })
            }
            turn => svg.text_with_title([x + lift, below + 8.0 + lift], name, whole, font.rotated(turn)),
        }
    }
}

/// The colour scale: a bar from 0 to 100 % to the right of the matrix.
fn scale(svg: &mut Svg, layout: &MatrixLayout, title: &str) {
    const STEPS: usize = 50;
    let (x, top) = (layout.left + layout.side + 24.0, layout.top);
    // Steps have whole pixels, so that there are no gaps between them.
    let height = if layout.side < 200.0 { 100.0 } else { 200.0 };
    for step in 0..STEPS {
        let share = (step as f64 + 0.5) / STEPS as f64;
        let y = top + height * (1.0 - (step + 1) as f64 / STEPS as f64);
        svg.rectangle([x, y], [12.0, height / STEPS as f64], Paint::Heat, share);
    }
    svg.frame([x - 0.5, top - 0.5], [13.0, height + 1.0], Stroke::new(Paint::Axis, 1.0));
    let font = Font::new(11.0, Paint::Muted, Anchor::Start);
    for share in [0.0, 0.5, 1.0] {
        let y = top + height * (1.0 - share);
        let lift = [0.0, 4.0, 8.0][(share * 2.0) as usize];
        svg.text([x + 18.0, y + lift], &format!("{}\u{a0}%", share * 100.0), font);
    }
    let middle = Font { anchor: Anchor::Middle, ..font };
    svg.text([x + 66.0, top + height / 2.0], title, middle.rotated(-90.0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ClassificationMetrics;

    /// Every label predicted `hits` times right and once as the class after it.
    fn matrix(names: &[String], hits: usize) -> ClassificationScores {
        let classes = names.len();
        let mut metrics = ClassificationMetrics::new(classes);
        for label in 0..classes {
            for sample in 0..=hits {
                let mut scores = vec![0.0; classes];
                scores[if sample < hits { label } else { (label + 1) % classes }] = 1.0;
                metrics.update(&scores, &[label as u32], &[0.0]).unwrap();
            }
        }
        metrics.finish(names).unwrap()
    }

    #[test]
    fn draws_counts_and_shares() {
        let names = ["green".to_owned(), "<loggerhead>".to_owned()];
        insta::assert_snapshot!(confusion_matrix("test", &matrix(&names, 3)).document());
    }

    #[test]
    fn a_hundred_classes_have_names_but_no_text_in_cells() {
        let names: Vec<String> =
            (0..100).map(|i| format!("species number {i} of a genus with a name of some length")).collect();
        let text = confusion_matrix("test", &matrix(&names, 3)).document();
        assert_eq!(text.matches("<title>species").count(), 200);
        assert!(!text.contains(">75.0"));
    }

    /// Rows are predictions, columns true classes; the last of both is the background.
    fn with_background(text: CellText, counts: &[Vec<u64>]) -> String {
        matrix_picture(&MatrixPicture {
            title: "test",
            subtitle: "confidence above 0.25",
            names: ["car", "tram", "background"].into(),
            counts,
            row_title: "predicted class",
            column_title: "true class",
            shares: ShareOf::Column,
            share_title: "share of the true class",
            text,
        })
        .document()
    }

    #[test]
    fn a_normalised_matrix_has_shares_of_columns_and_blank_cells_below_half_a_per_cent() {
        let counts = [vec![996, 0, 3], vec![4, 1, 1], vec![0, 3, 0]];
        let text = with_background(CellText::Share, &counts);
        for share in ["1.00", "0.25", "0.75"] {
            assert!(text.contains(&format!(">{share}<")), "{share} in {text}");
        }
        assert_eq!((text.matches(">0.").count(), text.matches(">1.00<").count()), (4, 1), "{text}");
        let raw = with_background(CellText::CountAlone, &counts);
        assert!(raw.contains(">996<") && raw.contains(">4<") && !raw.contains("996.0"), "{raw}");
    }

    #[test]
    fn a_matrix_of_nothing_is_a_picture() {
        for counts in [vec![], vec![vec![0; 3]; 3]] {
            let text = with_background(CellText::Share, &counts);
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}
