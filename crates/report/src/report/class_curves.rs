//! A curve for each class and their mean, as a figure and a table: precision by recall, or a score by confidence.

use super::plot::{Plot, fractions};
use super::svg::{Anchor, Dash, Font, Paint, SERIES, Stroke, Svg};
use super::tables::{IN_MEMORY, text, unreadable};
use super::text::{fit, width};
use crate::csv_cells;
use crate::error::{Error, Result};

const SIZE: [f64; 2] = [800.0, 516.0];
const SIDES: [f64; 2] = [72.0, 528.0];
const ENDS: [f64; 2] = [462.0, 92.0];
/// The left and right edges of the legend, and the height of its rows.
const LEGEND: [f64; 2] = [552.0, 780.0];
const ROW: f64 = 17.6;
/// Curves of more classes look alike. There are seven colours in three patterns.
pub const MOST_CURVES: usize = 20;
const PATTERNS: [Dash; 3] = [Dash::Solid, Dash::Dashed, Dash::Dotted];

/// A curve for each class over the same `x`. All values are from 0 to 1; a value that is not finite leaves a point out.
pub struct ClassCurves<'a> {
    /// Such as `F1 by confidence`.
    pub heading: &'a str,
    pub x_title: &'a str,
    pub y_title: &'a str,
    /// Ascending.
    pub x: &'a [f64],
    /// A value for each `x`.
    pub mean: &'a [f64],
    /// What the legend says of the mean, such as `0.661 at 0.381`.
    pub mean_number: &'a str,
    /// A point of the mean curve with a ring around it, such as its highest.
    pub mark: Option<[f64; 2]>,
    /// A dashed line between two points: what a model without skill gives.
    pub chance: Option<[[f64; 2]; 2]>,
    pub classes: &'a [ClassCurve],
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClassCurve {
    pub class: String,
    /// A value for each `x`.
    pub values: Vec<f64>,
    /// What the legend says of the class, such as its average precision.
    pub number: String,
}

/// Draws the curves. Of more than [`MOST_CURVES`] classes, only the mean is drawn. `title` usually is the stage's name.
pub fn class_curves(title: &str, curves: &ClassCurves) -> Svg {
    let mut svg = Svg::new(&format!("{title}: {}", curves.heading), SIZE[0], SIZE[1]);
    let font = Font::new(17.0, Paint::Ink, Anchor::Start).bold();
    svg.text([24.0, 34.0], &fit(title, font.size, SIZE[0] - 80.0), font);
    let plot = Plot {
        title: curves.heading,
        x: fractions(),
        x_title: curves.x_title,
        y: fractions(),
        y_title: curves.y_title,
        sides: SIDES,
        ends: ENDS,
    };
    plot.frame(&mut svg);
    if let Some([from, to]) = curves.chance {
        svg.line(plot.place(from), plot.place(to), Stroke::new(Paint::Axis, 1.0).dashed());
    }
    let mean = Stroke::new(Paint::Ink, 3.0);
    let mut legend = Legend { svg: &mut svg, y: ENDS[1] + 4.0 };
    match curves.classes {
        // The curve of a single class is the mean.
        [only] => legend.entry(&only.class, curves.mean_number, mean),
        classes => {
            legend.entry("all classes", curves.mean_number, mean);
            if classes.len() > MOST_CURVES {
                legend.note(&format!("{} classes: only the mean is drawn", classes.len()));
            } else {
                for (place, class) in classes.iter().enumerate() {
                    legend.entry(&class.class, &class.number, stroke(place));
                }
                for (place, class) in classes.iter().enumerate() {
                    plot.dense_curve(&mut svg, &points(curves.x, &class.values), stroke(place));
                }
            }
        }
    }
    plot.dense_curve(&mut svg, &points(curves.x, curves.mean), mean);
    if let Some(mark) = curves.mark.filter(|mark| mark.iter().all(|value| value.is_finite())) {
        svg.ring(plot.place(mark), 5.0, Stroke::new(Paint::Validation, 2.5));
    }
    svg
}

/// Draws several curves over the same `x` without a mean, such as one for each of several runs.
pub fn overlaid_curves(title: &str, heading: &str, axes: [&str; 2], x: &[f64], curves: &[ClassCurve]) -> Svg {
    let mut svg = Svg::new(&format!("{title}: {heading}"), SIZE[0], SIZE[1]);
    let font = Font::new(17.0, Paint::Ink, Anchor::Start).bold();
    svg.text([24.0, 34.0], &fit(title, font.size, SIZE[0] - 80.0), font);
    let [x_title, y_title] = axes;
    let plot =
        Plot { title: heading, x: fractions(), x_title, y: fractions(), y_title, sides: SIDES, ends: ENDS };
    plot.frame(&mut svg);
    let mut legend = Legend { svg: &mut svg, y: ENDS[1] + 4.0 };
    let hidden = curves.len().saturating_sub(MOST_CURVES);
    let shown = &curves[..curves.len() - hidden];
    for (place, curve) in shown.iter().enumerate() {
        legend.entry(&curve.class, &curve.number, stroke(place));
    }
    if hidden > 0 {
        legend.note(&format!("and {hidden} more, which are not drawn"));
    }
    for (place, curve) in shown.iter().enumerate() {
        plot.dense_curve(&mut svg, &points(x, &curve.values), stroke(place));
    }
    svg
}

/// The line of a class: first all colours as solid lines, then again in the other patterns.
fn stroke(place: usize) -> Stroke {
    Stroke::new(Paint::Series(place), 1.5).with(PATTERNS[place / SERIES.len() % PATTERNS.len()])
}

fn points(x: &[f64], values: &[f64]) -> Vec<[f64; 2]> {
    let finite = x.iter().zip(values).filter(|(x, y)| x.is_finite() && y.is_finite());
    finite.map(|(x, y)| [x.clamp(0.0, 1.0), y.clamp(0.0, 1.0)]).collect()
}

/// The legend: rows with a line, a name and a number.
struct Legend<'a> {
    svg: &'a mut Svg,
    y: f64,
}

impl Legend<'_> {
    fn entry(&mut self, name: &str, number: &str, stroke: Stroke) {
        let font = Font::new(12.0, Paint::Ink, Anchor::Start);
        let font = if stroke.paint == Paint::Ink { font.bold() } else { font };
        let left = LEGEND[0] + 32.0;
        // Bold text is wider by up to a twelfth.
        let room = (LEGEND[1] - left - 10.0) / 1.08 - width(number, font.size);
        let shown = fit(name, font.size, room);
        // A polyline has round ends, without which dots are not drawn.
        self.svg.polyline(&[[LEGEND[0], self.y - 4.2], [left - 8.0, self.y - 4.2]], stroke);
        self.svg.text_with_title([left, self.y], &shown, (shown != name).then_some(name), font);
        self.svg.text([LEGEND[1], self.y], number, Font { anchor: Anchor::End, ..font });
        self.y += ROW;
    }

    fn note(&mut self, text: &str) {
        self.svg.text([LEGEND[0], self.y + 4.0], text, Font::new(12.0, Paint::Muted, Anchor::Start));
        self.y += ROW;
    }
}

/// `x`, the mean and the values of each class, in columns. `x_name` is the heading of the first, such as `recall`.
pub fn class_curves_csv(x_name: &str, x: &[f64], mean: &[f64], classes: &[ClassCurve]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = classes.iter().map(|class| csv_cells::text(&class.class).into_owned());
    writer.write_record([x_name.to_owned(), "mean".to_owned()].into_iter().chain(names)).expect(IN_MEMORY);
    for (place, x) in x.iter().enumerate() {
        let value = |values: &[f64]| values.get(place).filter(|y| y.is_finite()).map(f64::to_string);
        let cell = |values: &[f64]| value(values).unwrap_or_default();
        let cells = [x.to_string(), cell(mean)].into_iter();
        writer.write_record(cells.chain(classes.iter().map(|class| cell(&class.values)))).expect(IN_MEMORY);
    }
    text(writer)
}

/// Reads what [`class_curves_csv`] wrote: `x`, the mean and the values of each class, without the classes' numbers. A
/// value that was left out is `NaN`.
///
/// # Errors
/// The table has another format.
pub fn read_class_curves(text: &str) -> Result<(Vec<f64>, Vec<f64>, Vec<ClassCurve>)> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names: Vec<String> = reader.headers().map_err(unreadable)?.iter().map(str::to_owned).collect();
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    for record in reader.records() {
        for (column, cell) in columns.iter_mut().zip(&record.map_err(unreadable)?) {
            let value = if cell.is_empty() { Ok(f64::NAN) } else { cell.parse() };
            let error = |_| Error::failed(format!("unreadable table: `{cell}` is no number"));
            column.push(value.map_err(error)?);
        }
    }
    let mut columns = columns.into_iter();
    let (Some(x), Some(mean)) = (columns.next(), columns.next()) else {
        return Err(Error::failed("unreadable table: a curve needs two columns"));
    };
    let class = |(name, values): (&String, _)| ClassCurve {
        class: csv_cells::name(name).to_owned(),
        values,
        number: String::new(),
    };
    let classes = names[2..].iter().zip(columns).map(class).collect();
    Ok((x, mean, classes))
}

#[cfg(test)]
mod tests {
    use super::super::png;
    use super::*;

    /// Curves that fall with `x`, each class earlier than the one before it.
    fn classes(names: &[String], x: &[f64]) -> Vec<ClassCurve> {
        let class = |(place, class): (usize, &String)| {
            let end = 0.95 - 0.8 * place as f64 / names.len() as f64;
            let values = x.iter().map(|x| if *x < end { 1.0 - 0.3 * x * x / end } else { 0.0 }).collect();
            ClassCurve { class: class.clone(), values, number: format!("{:.3}", end * 0.9) }
        };
        names.iter().enumerate().map(class).collect()
    }

    fn drawing(names: &[String]) -> Svg {
        let x: Vec<f64> = (0..1000).map(|place| f64::from(place) / 999.0).collect();
        let classes = classes(names, &x);
        let mean: Vec<f64> = (0..x.len())
            .map(|place| classes.iter().map(|class| class.values[place]).sum::<f64>() / names.len() as f64)
            .collect();
        let curves = ClassCurves {
            heading: "Precision by recall",
            x_title: "recall",
            y_title: "precision at IoU 0.5",
            x: &x,
            mean: &mean,
            mean_number: "0.661 at 0.381",
            mark: Some([0.5, mean[500]]),
            chance: None,
            classes: &classes,
        };
        class_curves("test", &curves)
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|place| format!("class {place} <of a genus & with a long name>")).collect()
    }

    #[test]
    fn the_table_reads_back_what_was_written() {
        let x = [0.0, 0.5, 1.0];
        let values = vec![0.1 + 0.2, f64::NAN, 1.0 / 3.0];
        let classes = [ClassCurve { class: "=car, old".to_owned(), values, number: String::new() }];
        let text = class_curves_csv("recall", &x, &[1.0, 0.25, f64::NAN], &classes);
        let (places, mean, read) = read_class_curves(&text).unwrap();
        assert_eq!((places, &mean[..2], mean[2].is_nan()), (x.to_vec(), &[1.0, 0.25][..], true));
        assert_eq!((read[0].class.as_str(), read[0].values[0]), ("=car, old", 0.1 + 0.2));
        assert!(read[0].values[1].is_nan() && read[0].values[2] == 1.0 / 3.0);
        assert!(read_class_curves("recall\n0\n").is_err());
        assert!(read_class_curves("recall,mean\n0,high\n").is_err());
    }

    #[test]
    fn draws_up_to_twenty_classes_and_else_the_mean_alone() {
        for (classes, lines) in [(0, 1), (1, 1), (2, 3), (20, 21), (21, 1), (80, 1)] {
            let text = drawing(&names(classes)).document();
            assert_eq!(text.matches("<polyline").count(), lines * 2, "{classes} classes");
            assert_eq!(text.contains("only the mean is drawn"), classes > MOST_CURVES);
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            // A thousand points of twenty curves become a few.
            assert!(text.len() < 60_000, "{classes} classes: {} bytes", text.len());
            assert_eq!(png(&drawing(&names(classes))).unwrap(), png(&drawing(&names(classes))).unwrap());
        }
    }

    #[test]
    fn no_two_of_twenty_classes_have_the_same_line() {
        let mut lines: Vec<String> = (0..MOST_CURVES)
            .map(|place| format!("{:?}{:?}", stroke(place).paint.name(), stroke(place).dash))
            .collect();
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), MOST_CURVES);
    }

    #[test]
    fn the_table_has_a_column_for_each_class() {
        let curve = |class: &str, values: [f64; 2]| ClassCurve {
            class: class.to_owned(),
            values: values.to_vec(),
            number: String::new(),
        };
        let classes = [curve("a,b", [1.0, 0.1 + 0.2]), curve("=c", [0.5, f64::NAN])];
        insta::assert_snapshot!(class_curves_csv("recall", &[0.0, 1.0], &[0.75, 0.25], &classes), @r#"
        recall,mean,"a,b",'=c
        0,0.75,1,0.5
        1,0.25,0.30000000000000004,
        "#);
    }
}
