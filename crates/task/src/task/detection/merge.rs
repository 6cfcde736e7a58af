//! The objects of one picture that were found in several inputs: flipped and turned versions, or tiles.

use super::predictions::FoundObjects;
use crate::data::BoxArea;
use crate::metrics::detection::{Detection, contained, intersection_over_union};
use crate::task::InputObjects;

/// The part of a box at the edge of a tile that lies in another box of its class, above which it is the same object.
const SAME_OBJECT: f64 = 0.5;
/// How near to the edge of a tile a box ends that the tile has cut, as a part of the tile's side.
const EDGE: f64 = 0.01;

/// Non-maximum suppression over the objects of all inputs. `inputs` has the place of each in the picture; without it, all
/// show the whole picture.
///
/// A tile cuts objects at its edges. A box that ends at such an edge is considered after all others, and is also left out
/// if more than half of it lies in a box that stays: another tile, or the whole picture, shows the object whole.
pub fn merged(found: Vec<FoundObjects>, inputs: &[InputObjects], iou: f64) -> FoundObjects {
    let size = found.first().map(|first| first.size).unwrap_or_default();
    let mut all: Vec<(bool, Detection)> = Vec::new();
    for (place, input) in found.into_iter().enumerate() {
        let shown = inputs.get(place).map(|input| shown(input, size));
        let is_cut = |object: &Detection| shown.is_some_and(|shown| is_cut(object, shown, size));
        all.extend(input.objects.into_iter().map(|object| (is_cut(&object), object)));
    }
    // Stable: equal scores stay in the order of the inputs.
    all.sort_by(|(a_cut, a), (b_cut, b)| a_cut.cmp(b_cut).then(b.score.total_cmp(&a.score)));
    let mut kept: Vec<Detection> = Vec::new();
    for (cut, object) in all {
        let is_same = |other: &Detection| {
            other.class == object.class
                && (intersection_over_union(other.corners, object.corners) > iou
                    || cut && contained(object.corners, other.corners) > SAME_OBJECT)
        };
        if !kept.iter().any(is_same) {
            kept.push(object);
        }
    }
    kept.sort_by(|a, b| b.score.total_cmp(&a.score));
    FoundObjects { size, objects: kept }
}

/// The part of the picture that an input shows, in pixels.
fn shown(input: &InputObjects, [width, height]: [u32; 2]) -> [f64; 4] {
    let all = BoxArea { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 };
    let area = input.picture_area(&all).unwrap_or(all);
    let [width, height] = [f64::from(width), f64::from(height)];
    [area.left * width, area.top * height, area.right * width, area.bottom * height]
}

/// Whether a box ends at an edge of its input that is none of the picture.
fn is_cut(object: &Detection, shown: [f64; 4], size: [u32; 2]) -> bool {
    let picture = [0.0, 0.0, f64::from(size[0]), f64::from(size[1])];
    (0..4).any(|side| {
        let length = shown[side % 2 + 2] - shown[side % 2];
        let near = |edge: f64, position: f64| (edge - position).abs() <= EDGE * length;
        near(shown[side], object.corners[side]) && !near(shown[side], picture[side])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Geometry, GeometryChain};

    fn found(objects: &[(u32, f32, [f64; 4])]) -> FoundObjects {
        let object = |&(class, score, corners): &(u32, f32, [f64; 4])| Detection { class, score, corners };
        FoundObjects { size: [200, 100], objects: objects.iter().map(object).collect() }
    }

    /// A tile of 100 × 100 pixels.
    fn tile(left: f64) -> InputObjects {
        let geometry =
            Geometry::identity((200, 100)).then([[0.5, 0.0, -0.5 * left], [0.0, 0.5, 0.0]], (50, 50));
        InputObjects { boxes: Vec::new(), moves: GeometryChain(vec![geometry]) }
    }

    #[test]
    fn versions_of_a_picture_are_suppressed_as_one() {
        let first = found(&[(0, 0.6, [10.0, 10.0, 50.0, 50.0]), (1, 0.9, [10.0, 10.0, 50.0, 50.0])]);
        let second = found(&[(0, 0.8, [12.0, 10.0, 52.0, 50.0]), (0, 0.3, [80.0, 10.0, 90.0, 50.0])]);
        let merged = merged(vec![first, second], &[], 0.7);
        let left: Vec<_> = merged.objects.iter().map(|object| (object.class, object.score)).collect();
        assert_eq!(left, [(1, 0.9), (0, 0.8), (0, 0.3)]);
    }

    #[test]
    fn what_a_tile_cuts_yields_to_the_whole_object_of_another() {
        // The object from 80 to 120 is whole in the tile from 50, and cut in the first, with a higher score.
        let first = found(&[(0, 0.9, [80.0, 10.0, 100.0, 50.0])]);
        let second = found(&[(0, 0.5, [80.0, 10.0, 120.0, 50.0])]);
        let objects = merged(vec![first.clone(), second.clone()], &[tile(0.0), tile(50.0)], 0.7).objects;
        assert_eq!(objects, second.objects);
        // Without another tile, it stays. At the edge of the picture nothing is cut.
        assert_eq!(merged(vec![first.clone()], &[tile(0.0)], 0.7), first);
        let ends = found(&[(0, 0.9, [180.0, 60.0, 200.0, 100.0]), (0, 0.5, [150.0, 40.0, 200.0, 100.0])]);
        assert_eq!(merged(vec![ends.clone()], &[tile(100.0)], 0.7), ends);
    }
}
