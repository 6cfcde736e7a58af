//! A geometric change, described once: the same map moves the pixels of an image and the boxes around its objects.

use super::{BoxArea, LabelledBox};

/// An affine map of the plane, row by row: x′ = m₀₀·x + m₀₁·y + m₀₂, y′ = m₁₀·x + m₁₁·y + m₁₂. Coordinates are in
/// pixels from the top left corner of the image; the centre of its first pixel is (½, ½).
pub type AffineMap = [[f64; 3]; 2];

/// The geometric change from a source image to a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// Width and height of the upright image.
    pub source: [u32; 2],
    /// Width and height of the result.
    pub output: [u32; 2],
    /// From the source to the result.
    pub map: AffineMap,
}

impl Geometry {
    /// The identity.
    pub fn identity((width, height): (u32, u32)) -> Self {
        let size = [width, height];
        Self { source: size, output: size, map: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]] }
    }

    /// This change followed by `map`, to an image of another size.
    pub fn then(self, map: AffineMap, (width, height): (u32, u32)) -> Self {
        let [first, second] = self.map;
        let row = |[a, b, c]: [f64; 3]| {
            let mut row: [f64; 3] = std::array::from_fn(|column| a * first[column] + b * second[column]);
            row[2] += c;
            row
        };
        Self { map: map.map(row), output: [width, height], ..self }
    }

    /// The inverse change, from the result to the source.
    pub fn inverse(self) -> Self {
        Self { source: self.output, output: self.source, map: inverse(self.map) }
    }
}

/// Which boxes of a changed image remain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxFilter {
    /// Smallest visible fraction of a box's area.
    pub least_visible: f64,
    /// The number of changes after which the visible part of a box counts as its whole area.
    pub whole_after: usize,
    /// Width and height of a box in pixels must be larger.
    pub least_side: f64,
    /// The ratio of the longer to the shorter side must be smaller.
    pub most_aspect: f64,
}

impl BoxFilter {
    /// All boxes of which anything is visible.
    pub const VISIBLE: Self =
        Self { least_visible: 0.0, whole_after: 0, least_side: 0.0, most_aspect: f64::INFINITY };

    /// The boxes of a randomly changed image, as YOLO detectors are trained with. The area after `whole_after` changes
    /// counts as whole: a mosaic cuts boxes without dropping them.
    pub const fn training(whole_after: usize) -> Self {
        Self { least_visible: 0.1, whole_after, least_side: 2.0, most_aspect: 100.0 }
    }

    fn keeps_shape(&self, area: &BoxArea, [width, height]: [f64; 2]) -> bool {
        let (width, height) = ((area.right - area.left) * width, (area.bottom - area.top) * height);
        let (shorter, longer) = (width.min(height), width.max(height));
        shorter > self.least_side && longer < self.most_aspect * shorter
    }
}

/// Changes in sequence. A later change cannot restore what an earlier one moved out of the image.
#[derive(Clone, Debug, PartialEq)]
pub struct GeometryChain(pub Vec<Geometry>);

impl GeometryChain {
    /// Maps boxes of the first source to boxes of the last result: the extent of each box's visible area. A box is
    /// dropped if less than the fraction `least_visible` of its area is visible.
    pub fn boxes(&self, boxes: &[LabelledBox], least_visible: f64) -> Vec<LabelledBox> {
        self.kept_boxes(boxes, &BoxFilter { least_visible, ..BoxFilter::VISIBLE })
    }

    /// As [`GeometryChain::boxes`]; drops the boxes that the filter does not keep.
    ///
    /// Under rotation and shear, the extent is that of the visible part of the turned box, and areas are those of the
    /// turned box. YOLO's training code takes the extents of the corners instead, which are larger.
    pub fn kept_boxes(&self, boxes: &[LabelledBox], filter: &BoxFilter) -> Vec<LabelledBox> {
        let moved = |object: &LabelledBox| {
            let area = self.moved(&object.area, filter)?;
            Some(LabelledBox { area, ..*object })
        };
        boxes.iter().filter_map(moved).collect()
    }

    /// Maps an area of the last result back to the first source, clipped to it. For maps that rotate or shear, the
    /// result is the extent of the corners.
    pub fn source_area(&self, area: &BoxArea) -> Option<BoxArea> {
        let (first, last) = (self.0.first()?, self.0.last()?);
        let [width, height] = last.output.map(f64::from);
        let mut corners = [
            [area.left * width, area.top * height],
            [area.right * width, area.top * height],
            [area.right * width, area.bottom * height],
            [area.left * width, area.bottom * height],
        ];
        for change in self.0.iter().rev() {
            let map = inverse(change.map);
            corners = corners.map(|[x, y]| map.map(|[a, b, c]| a * x + b * y + c));
        }
        let [width, height] = first.source.map(f64::from);
        let ends = |axis: usize, side: f64| {
            let places = corners.iter().map(|place| (place[axis] / side).clamp(0.0, 1.0));
            places.fold((1.0f64, 0.0f64), |(least, most), place| (least.min(place), most.max(place)))
        };
        let ((left, right), (top, bottom)) = (ends(0, width), ends(1, height));
        Some(BoxArea { left, top, right, bottom })
    }

    fn moved(&self, area: &BoxArea, filter: &BoxFilter) -> Option<BoxArea> {
        let (first, last) = (self.0.first()?, self.0.last()?);
        let [width, height] = first.source.map(f64::from);
        let (left, right) = (area.left * width, area.right * width);
        let (top, bottom) = (area.top * height, area.bottom * height);
        let mut polygon = vec![[left, top], [right, top], [right, bottom], [left, bottom]];
        let mut whole = area_of(&polygon);
        for (number, Geometry { map, output, .. }) in self.0.iter().enumerate() {
            if number == filter.whole_after {
                whole = area_of(&polygon);
            }
            let place = |[x, y]: [f64; 2]| map.map(|[a, b, c]| a * x + b * y + c);
            polygon = clipped(polygon.into_iter().map(place).collect(), output.map(f64::from));
            whole *= determinant(*map).abs();
        }
        let visible = area_of(&polygon);
        let [width, height] = last.output.map(f64::from);
        let ends = |axis: usize, side: f64| {
            let places = polygon.iter().map(|place| place[axis] / side);
            places.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), place| {
                (least.min(place), most.max(place))
            })
        };
        let ((left, right), (top, bottom)) = (ends(0, width), ends(1, height));
        let area = BoxArea { left, top, right, bottom };
        let kept = visible > 0.0
            && visible >= filter.least_visible * whole
            && filter.keeps_shape(&area, [width, height]);
        kept.then_some(area)
    }
}

/// The intersection of a convex polygon and an image of this width and height (Sutherland and Hodgman 1974).
fn clipped(polygon: Vec<[f64; 2]>, [width, height]: [f64; 2]) -> Vec<[f64; 2]> {
    let edges = [(0, 1.0, 0.0), (0, -1.0, -width), (1, 1.0, 0.0), (1, -1.0, -height)];
    edges.into_iter().fold(polygon, |polygon, (axis, sign, edge)| {
        let depth = |place: &[f64; 2]| sign * place[axis] - edge;
        let mut inside = Vec::with_capacity(polygon.len() + 1);
        for (index, to) in polygon.iter().enumerate() {
            let from = &polygon[(index + polygon.len() - 1) % polygon.len()];
            if (depth(from) < 0.0) != (depth(to) < 0.0) {
                let share = depth(from) / (depth(from) - depth(to));
                let mut cut = [0, 1].map(|axis| from[axis] + share * (to[axis] - from[axis]));
                cut[axis] = sign * edge;
                inside.push(cut);
            }
            if depth(to) >= 0.0 {
                inside.push(*to);
            }
        }
        inside
    })
}

fn area_of(polygon: &[[f64; 2]]) -> f64 {
    let next = polygon.iter().cycle().skip(1);
    (polygon.iter().zip(next).map(|([x, y], [to_x, to_y])| x * to_y - to_x * y).sum::<f64>() / 2.0).abs()
}

/// The inverse map.
pub fn inverse(map: AffineMap) -> AffineMap {
    let [[a, b, c], [d, e, f]] = map;
    let scale = 1.0 / determinant(map);
    let [a, b, d, e] = [e * scale, -b * scale, -d * scale, a * scale];
    [[a, b, -(a * c + b * f)], [d, e, -(d * c + e * f)]]
}

fn determinant([[a, b, _], [d, e, _]]: AffineMap) -> f64 {
    a * e - b * d
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(left: f64, top: f64, right: f64, bottom: f64) -> LabelledBox {
        LabelledBox::new(3, BoxArea { left, top, right, bottom })
    }

    /// Half as wide and twice as high, turned by a quarter, and moved.
    fn changed() -> Geometry {
        Geometry::identity((40, 20))
            .then([[0.5, 0.0, 0.0], [0.0, 2.0, 0.0]], (20, 40))
            .then([[0.0, 1.0, 0.0], [-1.0, 0.0, 20.0]], (40, 20))
            .then([[1.0, 0.0, 6.0], [0.0, 1.0, -3.0]], (40, 20))
    }

    #[test]
    fn maps_follow_each_other_and_lead_back() {
        let there = changed();
        assert_eq!(there.map, [[0.0, 2.0, 6.0], [-0.5, 0.0, 17.0]]);
        let back = there.then(there.inverse().map, (40, 20));
        let expected = Geometry::identity((40, 20)).map;
        let differences = back.map.into_iter().flatten().zip(expected.into_iter().flatten());
        assert!(differences.into_iter().all(|(actual, expected)| (actual - expected).abs() < 1e-12));
        assert_eq!((there.inverse().source, there.inverse().output), ([40, 20], [40, 20]));
    }

    #[test]
    fn boxes_are_cut_at_the_edges_and_left_out_where_little_is_visible() {
        let boxes = [object(0.0, 0.0, 0.25, 0.25), object(0.5, 0.0, 1.0, 1.0)];
        let moves = GeometryChain(vec![changed()]);
        let [first, second] = moves.boxes(&boxes, 0.0)[..] else { panic!("both are visible") };
        // x: 2·y + 6 of y in 0 to 5; y: 17 − x/2 of x in 0 to 10.
        assert_eq!(first, object(6.0 / 40.0, 12.0 / 20.0, 16.0 / 40.0, 17.0 / 20.0));
        assert_eq!(second, object(6.0 / 40.0, 0.0, 1.0, 7.0 / 20.0));
        // Of 10 × 40 pixels, 7 × 34 are inside.
        assert_eq!(moves.boxes(&boxes, 0.59).len(), 2);
        assert_eq!(moves.boxes(&boxes, 0.6), [first]);
        let away = Geometry::identity((10, 10)).then([[1.0, 0.0, 10.0], [0.0, 1.0, 0.0]], (10, 10));
        assert_eq!(GeometryChain(vec![away]).boxes(&boxes, 0.0), []);
    }

    #[test]
    fn what_is_cut_off_does_not_come_back() {
        let size = (10, 10);
        let shift = |right: f64| Geometry::identity(size).then([[1.0, 0.0, right], [0.0, 1.0, 0.0]], size);
        let boxes = [object(0.0, 0.0, 1.0, 0.5)];
        assert_eq!(
            GeometryChain(vec![shift(4.0), shift(-4.0)]).boxes(&boxes, 0.6),
            [object(0.0, 0.0, 0.6, 0.5)]
        );
        assert_eq!(GeometryChain(vec![shift(4.0), shift(-4.0)]).boxes(&boxes, 0.61), []);
        // Turned by an eighth, a corner is cut off: the extent is that of what is left.
        let half = 0.5f64.sqrt();
        let turned = Geometry::identity(size).then([[half, half, 0.0], [-half, half, 0.0]], size);
        let [seen] = GeometryChain(vec![turned]).boxes(&[object(0.0, 0.0, 1.0, 0.5)], 0.0)[..] else {
            panic!("one box")
        };
        let expected = object(0.0, 0.0, half, 0.5 * half).area;
        let sides = |area: BoxArea| [area.left, area.top, area.right, area.bottom];
        let near = sides(seen.area).into_iter().zip(sides(expected)).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near, "{seen:?}");
    }

    #[test]
    fn a_filter_drops_small_thin_and_mostly_hidden_boxes() {
        let size = (100, 100);
        let shift = |right: f64| Geometry::identity(size).then([[1.0, 0.0, right], [0.0, 1.0, 0.0]], size);
        let kept = |object: LabelledBox, moves: &[f64], whole_after: usize| {
            let moves = GeometryChain(moves.iter().map(|right| shift(*right)).collect());
            moves.kept_boxes(&[object], &BoxFilter::training(whole_after)).len()
        };
        let tenth = object(0.9, 0.0, 1.0, 1.0);
        assert_eq!(
            (kept(tenth, &[8.0], 0), kept(tenth, &[9.5], 0)),
            (1, 0),
            "two pixels of ten, then half a one"
        );
        let wide = object(0.0, 0.0, 1.0, 1.0);
        assert_eq!((kept(wide, &[89.0], 0), kept(wide, &[91.0], 0)), (1, 0), "a tenth is visible");
        // The first change cuts the box to 20 pixels; the second hides half of these.
        assert_eq!((kept(wide, &[80.0, 10.0], 1), kept(wide, &[80.0, 15.0], 0)), (1, 0));
        assert_eq!(kept(object(0.0, 0.5, 0.02, 0.9), &[0.0], 0), 0, "two pixels wide");
        let flat = Geometry::identity(size).then([[5.0, 0.0, 0.0], [0.0, 1.0, 0.0]], (500, 100));
        let thin = |bottom: f64| {
            GeometryChain(vec![flat]).kept_boxes(&[object(0.0, 0.0, 1.0, bottom)], &BoxFilter::training(0))
        };
        assert_eq!((thin(0.06).len(), thin(0.05).len()), (1, 0), "a hundred times longer");
    }

    #[test]
    fn areas_of_the_result_lead_back_to_the_source_and_are_clipped_to_it() {
        // A letterbox of 40 × 20 in 20 × 20: half the size, five pixels lower.
        let letterbox = Geometry::identity((40, 20)).then([[0.5, 0.0, 0.0], [0.0, 0.5, 5.0]], (20, 20));
        let chain = GeometryChain(vec![letterbox]);
        let back = chain.source_area(&object(0.25, 0.4, 0.5, 0.6).area).unwrap();
        let sides = [back.left, back.top, back.right, back.bottom];
        let expected = [0.25, 0.3, 0.5, 0.7];
        assert!(sides.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{sides:?}");
        let all = chain.source_area(&object(0.0, 0.0, 1.0, 1.0).area).unwrap();
        assert_eq!([all.left, all.top, all.right, all.bottom], [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(GeometryChain(Vec::new()).source_area(&all), None);
    }
}
