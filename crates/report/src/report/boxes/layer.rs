//! Boxes with class names and scores, as a drawing that is laid over an image.

use super::{ImageBox, class_name};
use crate::report::svg::{Anchor, Font, Paint, Stroke, Svg};
use crate::report::text::{fit, width};

/// Labels have one of these sizes, by the size of the image.
const TEXT: [f64; 2] = [11.0, 22.0];
const LINES: [f64; 2] = [1.5, 5.0];

/// The place of an image in a drawing.
#[derive(Clone, Copy)]
pub struct View {
    pub at: [f64; 2],
    /// The size that the image has there.
    pub size: [f64; 2],
    /// Pixels of the drawing for each pixel of the original.
    pub scale: f64,
}

/// A rectangle: left, top, right, bottom.
type Area = [f64; 4];

struct Marked {
    class: usize,
    area: Area,
    text: String,
}

/// Draws boxes onto an image. Boxes and labels with a high score are above the others; of labels that would overlap,
/// the one with the highest score is drawn. A box that is not finite or lies outside the image is not drawn.
pub fn draw(svg: &mut Svg, view: View, boxes: &[ImageBox], classes: &[String]) {
    let (longer, shorter) = (view.size[0].max(view.size[1]), view.size[0].min(view.size[1]));
    let line = (longer / 320.0).min(shorter / 60.0).clamp(LINES[0], LINES[1]);
    let size = (longer / 48.0).min(shorter / 6.0).round().clamp(TEXT[0], TEXT[1]);
    let mut marked: Vec<(f32, Marked)> = boxes
        .iter()
        .filter_map(|shown| Some((shown.score.unwrap_or(1.0), marked(view, line, shown, classes)?)))
        .collect();
    // Stable: boxes of the same score keep their order.
    marked.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (_, Marked { class, area: [left, top, right, bottom], .. }) in marked.iter().rev() {
        let (at, sides) = ([*left, *top], [right - left, bottom - top]);
        svg.frame(at, sides, Stroke::new(Paint::Paper, line + 1.5));
        svg.frame(at, sides, Stroke::new(Paint::Box(*class), line));
    }
    let mut labels: Vec<(Area, usize, String)> = Vec::new();
    for (_, marked) in marked {
        let text = fit(&marked.text, size, view.size[0] - size);
        let taken: Vec<Area> = labels.iter().map(|label| label.0).collect();
        if let Some(area) = label_area(view, line, size, &marked.area, &text, &taken) {
            labels.push((area, marked.class, text));
        }
    }
    for (area, class, text) in labels.iter().rev() {
        let [left, top, right, bottom] = *area;
        svg.rectangle([left, top], [right - left, bottom - top], Paint::Box(*class), 1.0);
        let font = Font::new(size, Paint::OnBox(*class), Anchor::Start);
        svg.text([left + size * 0.35, bottom - size * 0.37], text, font);
    }
}

/// The box as it is drawn: its line is inside the image.
fn marked(view: View, line: f64, shown: &ImageBox, classes: &[String]) -> Option<Marked> {
    if !shown.is_finite() {
        return None;
    }
    let [x, y] = view.at;
    let [width, height] = view.size;
    let inside = |value: f32, length: f64| (f64::from(value) * view.scale).clamp(0.0, length);
    let [left, right] = [shown.left, shown.right].map(|value| inside(value, width));
    let [top, bottom] = [shown.top, shown.bottom].map(|value| inside(value, height));
    if right <= left || bottom <= top {
        return None;
    }
    let half = line / 2.0;
    let line_inside = |value: f64, length: f64| value.max(half).min((length - half).max(half));
    let [left, right] = [left, right].map(|value| x + line_inside(value, width));
    let [top, bottom] = [top, bottom].map(|value| y + line_inside(value, height));
    let name = class_name(classes, shown.class);
    let text = shown.score.map_or_else(|| name.clone(), |score| format!("{name} {score:.2}"));
    Some(Marked { class: shown.class, area: [left, top, right, bottom], text })
}

/// The first place for a label that covers no other label: above the box, inside it at the top, below it, inside it at
/// the bottom; each from the left edge of the box, then to its right edge. It is always inside the image.
fn label_area(view: View, line: f64, size: f64, marked: &Area, text: &str, taken: &[Area]) -> Option<Area> {
    let (wide, high) = (width(text, size) + size * 0.7, (size * 1.35).ceil());
    let [left, top, right, bottom] = *marked;
    let half = line / 2.0;
    let ([x, y], [image_width, image_height]) = (view.at, view.size);
    let fits = |at: f64| at >= y && at + high <= y + image_height;
    let tops = [top + half - high, top - half, bottom - half, bottom + half - high];
    let lefts = [left - half, right + half - wide];
    let places = tops.into_iter().filter(|&at| fits(at)).flat_map(|top| lefts.map(|left| [left, top]));
    let mut areas = places.map(|[left, top]| {
        let left = left.min(x + image_width - wide).max(x);
        [left, top, left + wide, top + high]
    });
    areas.find(|area| !taken.iter().any(|other| overlaps(area, other)))
}

fn overlaps(a: &Area, b: &Area) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View { at: [10.0, 20.0], size: [400.0, 200.0], scale: 2.0 }
    }

    fn shown(class: usize, corners: [f32; 4]) -> ImageBox {
        let [left, top, right, bottom] = corners;
        ImageBox { class, score: Some(0.5), left, top, right, bottom }
    }

    fn drawing(boxes: &[ImageBox]) -> String {
        let mut svg = Svg::transparent("a test", 500.0, 300.0);
        draw(&mut svg, view(), boxes, &["<car>".to_owned(), "a cyclist with a long name".repeat(5)]);
        svg.document()
    }

    #[test]
    fn a_box_has_its_name_and_score_above_it() {
        insta::assert_snapshot!(drawing(&[shown(0, [20.0, 30.0, 70.0, 80.0])]), @r##"
        <svg xmlns="http://www.w3.org/2000/svg" width="500" height="300" viewBox="0 0 500 300" role="img" font-family="Inter, Helvetica, Arial, sans-serif">
        <title>a test</title>
        <rect x="50" y="80" width="100" height="100" fill="none" class="stroke-paper" stroke="#ffffff" stroke-width="3"/>
        <rect x="50" y="80" width="100" height="100" fill="none" class="stroke-box-0" stroke="#e69f00" stroke-width="1.5"/>
        <rect x="49.25" y="65.75" width="65.53" height="15" class="fill-box-0" fill="#e69f00"/>
        <text x="53.1" y="76.68" font-size="11" class="fill-on-box" fill="#1b1f24">&lt;car&gt; 0.50</text>
        </svg>
        "##);
    }

    #[test]
    fn labels_are_inside_the_image_and_apart() {
        let corners = [
            [0.0, 0.0, 200.0, 100.0],
            [195.0, 0.0, 200.0, 3.0],
            [195.0, 97.0, 400.0, 300.0],
            [-50.0, 40.0, 5.0, 60.0],
            [50.0, 50.0, 60.0, 60.0],
            [50.0, 50.0, 60.0, 60.0],
        ];
        let (line, size) = (2.0, 12.0);
        let mut taken: Vec<Area> = Vec::new();
        for corners in corners {
            let marked = marked(view(), line, &shown(0, corners), &["car".to_owned()]).unwrap();
            assert!(marked.area[0] >= 11.0 && marked.area[1] >= 21.0, "{:?}", marked.area);
            assert!(marked.area[2] <= 409.0 && marked.area[3] <= 219.0, "{:?}", marked.area);
            let label = label_area(view(), line, size, &marked.area, "car 0.50", &taken).unwrap();
            assert!(
                label[0] >= 10.0 && label[1] >= 20.0 && label[2] <= 410.0 && label[3] <= 220.0,
                "{label:?}"
            );
            assert!(!taken.iter().any(|other| overlaps(&label, other)));
            taken.push(label);
        }
        // Where no place is left, there is a box without a label.
        let many = [shown(0, [50.0, 50.0, 60.0, 60.0]); 30];
        let text = drawing(&many);
        assert_eq!(text.matches("stroke-box-0").count(), 30);
        assert!((1..10).contains(&text.matches("<text").count()), "{text}");
    }

    #[test]
    fn boxes_without_an_area_on_the_image_are_not_drawn() {
        let outside = [[300.0, 0.0, 400.0, 50.0], [5.0, 5.0, 5.0, 9.0], [9.0, 5.0, 5.0, 9.0], [f32::NAN; 4]];
        assert!(!drawing(&outside.map(|corners| shown(7, corners))).contains("<rect"));
        assert!(drawing(&[shown(7, [0.0, 0.0, 9.0, 9.0])]).contains(">class 7 0.50<"));
    }
}
