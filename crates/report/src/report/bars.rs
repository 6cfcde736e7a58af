//! Horizontal bars with a name and a number each, in groups, such as what each type of error costs.

use super::axis::Axis;
use super::svg::{Anchor, Font, Paint, Stroke, Svg};
use super::text::fit;

const WIDTH: f64 = 800.0;
/// The left and right edges of the bars, and the right edges of the notes.
const SIDES: [f64; 2] = [200.0, 544.0];
const NOTES: [f64; 2] = [668.0, 776.0];
const TOP: f64 = 96.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;
/// The space between two groups.
const GAP: f64 = 14.0;

/// A bar from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    pub name: String,
    /// Not negative. A bar without a value is not drawn, and its text says so.
    pub value: Option<f64>,
    /// At the right, such as numbers of boxes.
    pub notes: [String; 2],
}

/// A figure of bars.
pub struct Bars<'a> {
    /// Such as `What errors cost`.
    pub heading: &'a str,
    pub x_title: &'a str,
    /// What notes are.
    pub note_titles: [&'a str; 2],
    /// At least one bar in all.
    pub groups: &'a [Vec<Bar>],
}

/// Draws the bars. Values have one decimal. `title` usually is the stage's name.
pub fn bars(title: &str, chart: &Bars) -> Svg {
    let Bars { heading, x_title, note_titles, groups } = *chart;
    let rows: usize = groups.iter().map(Vec::len).sum();
    let gaps = groups.len().saturating_sub(1) as f64 * GAP;
    let bottom = TOP + rows as f64 * ROW + gaps;
    let mut svg = Svg::new(&format!("{title}: {heading}"), WIDTH, bottom + 54.0);
    let font = Font::new(17.0, Paint::Ink, Anchor::Start).bold();
    svg.text([24.0, 34.0], &fit(title, font.size, WIDTH - 80.0), font);
    svg.text([24.0, 66.0], heading, Font::new(14.0, Paint::Ink, Anchor::Start).bold());
    let largest = groups.iter().flatten().filter_map(|bar| bar.value).fold(0.0, f64::max);
    // Below a point, no difference can be seen, and ticks would have many digits.
    let axis = Axis::covering(0.0, largest.max(1.0), 5.0);
    let label = Font::new(12.0, Paint::Muted, Anchor::Middle);
    for (value, text) in &axis.ticks {
        let x = axis.place(*value, SIDES);
        svg.line([x, TOP], [x, bottom], Stroke::new(Paint::Grid, 1.0));
        svg.text([x, bottom + 18.0], text, label);
    }
    svg.text([(SIDES[0] + SIDES[1]) / 2.0, bottom + 38.0], x_title, label);
    for (right, title) in NOTES.into_iter().zip(note_titles) {
        svg.text([right, TOP - 12.0], title, Font { anchor: Anchor::End, ..label });
    }
    let mut y = TOP;
    for (place, group) in groups.iter().enumerate() {
        for bar in group {
            row(&mut svg, bar, y, &axis, place);
            y += ROW;
        }
        y += GAP;
    }
    svg.line([SIDES[0], TOP], [SIDES[0], bottom], Stroke::new(Paint::Axis, 1.0));
    svg
}

fn row(svg: &mut Svg, bar: &Bar, y: f64, axis: &Axis, group: usize) {
    let baseline = y + ROW / 2.0 + 4.2;
    let name = Font::new(12.0, Paint::Ink, Anchor::End);
    let shown = fit(&bar.name, name.size, SIDES[0] - 36.0);
    let full = (shown != bar.name).then_some(bar.name.as_str());
    svg.text_with_title([SIDES[0] - 10.0, baseline], &shown, full, name);
    let value = Font::new(12.0, Paint::Ink, Anchor::Start);
    let note = Font::new(12.0, Paint::Muted, Anchor::End);
    match bar.value {
        None => svg.text([SIDES[0] + 6.0, baseline], "–", value),
        Some(number) => {
            let end = axis.place(number, SIDES);
            let size = [end - SIDES[0], BAR];
            svg.rectangle([SIDES[0], y + (ROW - BAR) / 2.0], size, Paint::Series(group), 1.0);
            svg.text([end + 6.0, baseline], &format!("{number:.1}"), value);
        }
    }
    for (right, text) in NOTES.into_iter().zip(&bar.notes) {
        svg.text([right, baseline], text, note);
    }
}

#[cfg(test)]
mod tests {
    use super::super::png;
    use super::*;

    fn bar(name: &str, value: Option<f64>) -> Bar {
        Bar { name: name.to_owned(), value, notes: ["12,345", "678"].map(str::to_owned) }
    }

    #[test]
    fn draws_a_bar_for_each_value() {
        let groups = [
            vec![
                bar("missed object", Some(12.5)),
                bar("a <name> that is much too long for its place & more", Some(0.0)),
            ],
            vec![bar("unknown", None)],
        ];
        let chart = Bars {
            heading: "What errors cost",
            x_title: "points",
            note_titles: ["all", "from 0.5 on"],
            groups: &groups,
        };
        let svg = bars("test", &chart);
        let text = svg.document();
        // The paper, and two bars.
        assert_eq!(text.matches("<rect").count(), 3);
        for shown in [">12.5<", ">0.0<", ">–<", "&lt;name&gt;", ">12,345<", ">678<"] {
            assert!(text.contains(shown), "`{shown}` in {text}");
        }
        assert_eq!(png(&svg).unwrap(), png(&bars("test", &chart)).unwrap());
        let none = [vec![bar("nothing", Some(0.0))]];
        assert!(!bars("test", &Bars { groups: &none, ..chart }).document().contains("NaN"));
    }
}
