//! Confusion matrices side by side: the fractions of each group, and how they differ from the baseline.

use super::{ComparedMatrix, RunComparison, RunGroup};
use crate::report::confusion::ShareOf;
use crate::report::svg::{Anchor, Font, Paint, Stroke, Svg};
use crate::report::text::{fit, width};

/// The maximum width of the figure, and the bounds of a cell.
const WIDTH: f64 = 1680.0;
const CELLS: [f64; 2] = [10.0, 44.0];
/// Text in a cell needs this size.
const TEXT_FROM: f64 = 26.0;
const LONGEST_NAME: f64 = 120.0;
const MARGIN: f64 = 24.0;
const GAP: f64 = 26.0;
const TOP: f64 = 76.0;
/// Fractions below this are `0.00`.
const BLANK: f64 = 0.005;
/// Above this fraction, the cell is dark and its text is white.
const DARK: f64 = 0.7;

/// The matrices of all groups that have one, as means of fractions over their runs.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupMatrices {
    names: Vec<String>,
    axes: String,
    groups: Vec<(String, Vec<Vec<f64>>)>,
    /// Its place among the groups.
    baseline: Option<usize>,
}

/// `None` if no run has a matrix. Groups with other names than the first are left out.
pub fn group_matrices(comparison: &RunComparison) -> Option<GroupMatrices> {
    let of_run = |group: &RunGroup| -> Vec<ComparedMatrix> {
        let evaluations = group.runs.iter().filter_map(|run| run.evaluation.as_ref());
        evaluations.filter_map(|evaluation| evaluation.matrix.clone()).collect()
    };
    let first = comparison.groups.iter().flat_map(of_run).next()?;
    let axes = match first.shares {
        ShareOf::Column => format!("columns: {}, rows: {}", first.column_title, first.row_title),
        ShareOf::Row => format!("rows: {}, columns: {}", first.row_title, first.column_title),
    };
    let mean = |group: &RunGroup| {
        let matrices: Vec<Vec<Vec<f64>>> = of_run(group)
            .iter()
            .filter(|matrix| matrix.names == first.names)
            .map(ComparedMatrix::fractions)
            .collect();
        let at = |row: usize, column: usize| {
            matrices.iter().map(|matrix| matrix[row][column]).sum::<f64>() / matrices.len() as f64
        };
        let size = first.names.len();
        let rows = || (0..size).map(|row| (0..size).map(|column| at(row, column)).collect()).collect();
        (!matrices.is_empty()).then(|| (group.label.clone(), rows()))
    };
    let groups: Vec<(String, Vec<Vec<f64>>)> = comparison.groups.iter().filter_map(mean).collect();
    let baseline = groups.iter().position(|(label, _)| Some(label) == comparison.baseline.as_ref());
    Some(GroupMatrices { names: first.names, axes, groups, baseline })
}

impl GroupMatrices {
    /// A grid of the normalised matrices.
    pub fn picture(&self, title: &str) -> Svg {
        self.grid(title, "fractions of the true class", &self.groups.iter().collect::<Vec<_>>(), &fraction)
    }

    /// A grid of the other matrices minus that of the baseline: blue is more, orange is less. `None` without a baseline.
    pub fn differences(&self, title: &str) -> Option<Svg> {
        let (baseline, of_baseline) = &self.groups[self.baseline?];
        let minus = |(label, matrix): &(String, Vec<Vec<f64>>)| {
            let row = |(row, other): (&Vec<f64>, &Vec<f64>)| {
                row.iter().zip(other).map(|(value, other)| value - other).collect::<Vec<f64>>()
            };
            (label.clone(), matrix.iter().zip(of_baseline).map(row).collect::<Vec<_>>())
        };
        let others = self.groups.iter().filter(|(label, _)| label != baseline).map(minus);
        let others: Vec<_> = others.collect();
        let heading = format!("fractions minus those of {baseline}: blue is more, orange is less");
        (!others.is_empty())
            .then(|| self.grid(title, &heading, &others.iter().collect::<Vec<_>>(), &difference))
    }

    fn grid(
        &self,
        title: &str,
        heading: &str,
        groups: &[&(String, Vec<Vec<f64>>)],
        look: &dyn Fn(f64) -> Option<CellLook>,
    ) -> Svg {
        let size = self.names.len().max(1) as f64;
        let cell = (300.0 / size).floor().clamp(CELLS[0], CELLS[1]);
        let name_size = (cell * 0.75).clamp(8.0, 12.0);
        let longest = self.names.iter().map(|name| width(name, name_size)).fold(0.0, f64::max);
        let names = longest.min(LONGEST_NAME).ceil() + 8.0;
        let (wide, high) = (names + cell * size + GAP, cell * size + names + 34.0);
        let columns = (1..).find(|columns| columns * columns >= groups.len()).unwrap_or(1);
        let columns = columns.min((((WIDTH - 2.0 * MARGIN) / wide).floor() as usize).max(1));
        let rows = groups.len().div_ceil(columns.max(1));
        let whole = [(2.0 * MARGIN + wide * columns as f64).max(860.0), TOP + high * rows as f64 + MARGIN];
        let mut svg = Svg::new(&format!("{title}: confusion matrices"), whole[0], whole[1]);
        let title = format!("{title}: confusion matrices");
        svg.text([MARGIN, 34.0], &title, Font::new(17.0, Paint::Ink, Anchor::Start).bold());
        let subtitle = format!("{heading}; {}", self.axes);
        let font = Font::new(13.0, Paint::Muted, Anchor::Start);
        svg.text([MARGIN, 55.0], &fit(&subtitle, font.size, whole[0] - 2.0 * MARGIN), font);
        for (place, (label, matrix)) in groups.iter().enumerate() {
            let x = MARGIN + (place % columns) as f64 * wide + names;
            let y = TOP + (place / columns) as f64 * high + 22.0;
            let font = Font::new(13.0, Paint::Ink, Anchor::Start).bold();
            svg.text_with_title([x, y - 8.0], &fit(label, font.size, cell * size), Some(label), font);
            self.matrix(&mut svg, [x, y], cell, name_size, matrix, look);
        }
        svg
    }

    fn matrix(
        &self,
        svg: &mut Svg,
        [x, y]: [f64; 2],
        cell: f64,
        name_size: f64,
        matrix: &[Vec<f64>],
        look: &dyn Fn(f64) -> Option<CellLook>,
    ) {
        for (row, values) in matrix.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                let Some(CellLook { paint, opacity, text, ink }) = look(*value) else { continue };
                let at = [x + column as f64 * cell, y + row as f64 * cell];
                svg.rectangle(at, [cell - 1.0; 2], paint, opacity);
                if cell >= TEXT_FROM {
                    let font = Font::new(cell * 0.3, ink, Anchor::Middle);
                    svg.text([at[0] + cell / 2.0, at[1] + cell * 0.61], &text, font);
                }
            }
        }
        let side = cell * matrix.len() as f64;
        svg.frame([x - 0.5, y - 0.5], [side; 2], Stroke::new(Paint::Axis, 1.0));
        let font = Font::new(name_size, Paint::Ink, Anchor::End);
        for (place, name) in self.names.iter().enumerate() {
            let middle = (place as f64 + 0.5) * cell + name_size * 0.36;
            let shown = fit(name, name_size, LONGEST_NAME);
            let whole = (shown != *name).then_some(name.as_str());
            svg.text_with_title([x - 6.0, y + middle], &shown, whole, font);
            svg.text_with_title([x + middle, y + side + 6.0], &shown, whole, font.rotated(-90.0));
        }
    }
}

/// How a cell is drawn.
struct CellLook {
    paint: Paint,
    opacity: f64,
    text: String,
    ink: Paint,
}

fn fraction(value: f64) -> Option<CellLook> {
    (value >= BLANK).then(|| CellLook {
        paint: Paint::Heat,
        opacity: value.max(0.03),
        text: format!("{value:.2}"),
        ink: if value >= DARK { Paint::OnHeat } else { Paint::Ink },
    })
}

fn difference(value: f64) -> Option<CellLook> {
    let sign = if value < 0.0 { '−' } else { '+' };
    (value.abs() >= BLANK).then(|| CellLook {
        paint: if value < 0.0 { Paint::Validation } else { Paint::Heat },
        // Half of a class is a difference of the full colour.
        opacity: (2.0 * value.abs()).clamp(0.05, 1.0),
        text: format!("{sign}{:.2}", value.abs()),
        ink: if value.abs() >= DARK / 2.0 { Paint::OnHeat } else { Paint::Ink },
    })
}

#[cfg(test)]
mod tests {
    use super::super::{ComparedEvaluation, ComparedRun};
    use super::*;

    fn group(label: &str, all: &[[[u64; 2]; 2]]) -> RunGroup {
        let run = |counts: &[[u64; 2]; 2]| {
            let matrix = ComparedMatrix {
                names: ["car", "background"].map(str::to_owned).into(),
                counts: counts.iter().map(|row| row.to_vec()).collect(),
                row_title: "predicted class",
                column_title: "true class",
                shares: ShareOf::Column,
            };
            let evaluation = ComparedEvaluation { matrix: Some(matrix), ..ComparedEvaluation::default() };
            ComparedRun { evaluation: Some(evaluation), ..ComparedRun::default() }
        };
        RunGroup::new(label.to_owned(), all.iter().map(run).collect(), None)
    }

    #[test]
    fn matrices_are_means_of_fractions_and_differ_from_the_baseline() {
        let groups =
            vec![group("none", &[[[6, 1], [4, 0]], [[8, 1], [2, 0]]]), group("frozen", &[[[5, 1], [5, 0]]])];
        let mut comparison = RunComparison { groups, ..RunComparison::default() };
        let matrices = group_matrices(&comparison).unwrap();
        let drawn = matrices.picture("streets").document();
        for text in [">0.70<", ">0.30<", ">0.50<", ">1.00<", ">none<", ">frozen<"] {
            assert!(drawn.contains(text), "{text} in {drawn}");
        }
        assert_eq!(matrices.differences("streets"), None);
        comparison.compare_with("none");
        let drawn = group_matrices(&comparison).unwrap().differences("streets").unwrap().document();
        assert!(drawn.contains(">−0.20<") && drawn.contains(">+0.20<"), "{drawn}");
        assert!(!drawn.contains(">none<") && drawn.contains("minus those of none"), "{drawn}");
    }

    #[test]
    fn runs_without_a_matrix_have_no_figure() {
        let groups = vec![RunGroup::new("a".into(), vec![ComparedRun::default()], None)];
        assert_eq!(group_matrices(&RunComparison { groups, ..RunComparison::default() }), None);
    }
}
