//! Curves of the compared evaluation, such as precision by recall: one line for each group, the mean over its runs.

use super::{ComparedCurve, MeanStd, RunComparison, RunGroup};
use crate::report::class_curves::{ClassCurve, overlaid_curves};
use crate::report::svg::Svg;
use crate::report::tables::{IN_MEMORY, text};
use crate::{csv_cells, report::text::shortest};

/// A figure with a curve for each group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupCurves {
    /// The name of its files, without extension.
    pub file: &'static str,
    heading: &'static str,
    axes: [&'static str; 2],
    x: Vec<f64>,
    curves: Vec<GroupCurve>,
}

/// The mean curve of a group.
#[derive(Clone, Debug, PartialEq)]
struct GroupCurve {
    label: String,
    mean: Vec<f64>,
    score: Option<MeanStd>,
}

/// The curves that runs have, in the order of the first one that has any.
pub fn group_curves(comparison: &RunComparison) -> Vec<GroupCurves> {
    let runs = comparison.groups.iter().flat_map(|group| &group.runs);
    let first =
        runs.filter_map(|run| run.evaluation.as_ref()).find(|evaluation| !evaluation.curves.is_empty());
    let figure = |like: &ComparedCurve| GroupCurves {
        file: like.file,
        heading: like.heading,
        axes: [like.x_title, like.y_title],
        x: like.x.clone(),
        curves: comparison.groups.iter().filter_map(|group| of_group(group, like)).collect(),
    };
    first.map(|evaluation| evaluation.curves.iter().map(figure).collect()).unwrap_or_default()
}

/// `None` if no run of the group has a curve over the same values.
fn of_group(group: &RunGroup, like: &ComparedCurve) -> Option<GroupCurve> {
    let evaluations = group.runs.iter().filter_map(|run| run.evaluation.as_ref());
    let curves: Vec<&ComparedCurve> = evaluations
        .flat_map(|evaluation| &evaluation.curves)
        .filter(|curve| curve.file == like.file && curve.x == like.x && curve.y.len() == like.x.len())
        .collect();
    let scores: Vec<f64> = curves.iter().filter_map(|curve| curve.score).collect();
    let at = |point: usize| curves.iter().map(|curve| curve.y[point]).sum::<f64>() / curves.len() as f64;
    (!curves.is_empty()).then(|| GroupCurve {
        label: group.label.clone(),
        mean: (0..like.x.len()).map(at).collect(),
        score: MeanStd::of(&scores),
    })
}

/// Draws the curves of all groups in one plot.
pub fn group_curves_svg(title: &str, figure: &GroupCurves) -> Svg {
    let curve = |curve: &GroupCurve| ClassCurve {
        class: curve.label.clone(),
        values: curve.mean.clone(),
        number: curve.score.map(|score| format!("{:.3}", score.mean)).unwrap_or_default(),
    };
    let curves: Vec<ClassCurve> = figure.curves.iter().map(curve).collect();
    overlaid_curves(title, figure.heading, figure.axes, &figure.x, &curves)
}

/// A column for each group.
pub fn group_curves_csv(figure: &GroupCurves) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let labels = figure.curves.iter().map(|curve| csv_cells::text(&curve.label).into_owned());
    writer.write_record(std::iter::once(figure.axes[0].to_owned()).chain(labels)).expect(IN_MEMORY);
    for (point, x) in figure.x.iter().enumerate() {
        let values = figure.curves.iter().map(|curve| shortest(curve.mean[point]));
        writer.write_record(std::iter::once(shortest(*x)).chain(values)).expect(IN_MEMORY);
    }
    text(writer)
}

#[cfg(test)]
mod tests {
    use super::super::{ComparedEvaluation, ComparedRun};
    use super::*;

    fn run(seed: u64, y: [f64; 3]) -> ComparedRun {
        let curve = ComparedCurve {
            file: "PR_curve",
            heading: "Precision by recall",
            x_title: "recall",
            y_title: "precision",
            x: vec![0.0, 0.5, 1.0],
            y: y.into(),
            score: Some(y[1]),
        };
        let evaluation = ComparedEvaluation { curves: vec![curve], ..ComparedEvaluation::default() };
        ComparedRun { seed, evaluation: Some(evaluation), ..ComparedRun::default() }
    }

    #[test]
    fn a_line_is_the_mean_over_the_runs_of_a_group() {
        let groups = vec![
            RunGroup::new("=none".into(), vec![run(0, [1.0, 0.5, 0.0]), run(1, [1.0, 0.75, 0.5])], None),
            RunGroup::new("frozen".into(), vec![run(0, [1.0, 0.25, 0.0])], None),
            RunGroup::new("unfinished".into(), vec![ComparedRun::default()], None),
        ];
        let comparison = RunComparison { groups, ..RunComparison::default() };
        let figures = group_curves(&comparison);
        let [figure] = &figures[..] else { panic!("one figure") };
        assert_eq!(group_curves_csv(figure), "recall,'=none,frozen\n0,1,1\n0.5,0.625,0.25\n1,0.25,0\n");
        let drawn = group_curves_svg("streets", figure).document();
        assert!(
            drawn.contains(">=none<") && drawn.contains(">0.625<") && drawn.contains(">0.250<"),
            "{drawn}"
        );
        assert_eq!(drawn.matches("<polyline").count(), 4, "two curves and two lines of the legend");
        assert!(group_curves(&RunComparison::default()).is_empty());
    }
}
