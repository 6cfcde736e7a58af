//! Pixels, boxes and colours of compositions, compared with their formulas in NumPy and with OpenCV:
//! `tests/fixtures/data/make_mosaic.py`.

use super::affine_draw::AffineDraw;
use super::mosaic::{MosaicPoint, PARTS};
use super::warp::{Samples, warp};
use crate::data::fixtures::Fixtures;
use crate::data::geometry::{BoxFilter, Geometry, GeometryChain};
use crate::data::{BoxArea, LabelledBox};

const SIDE: u32 = 48;
const CASES: usize = 7;

struct Case {
    point: Option<MosaicPoint>,
    affine: AffineDraw,
    rotates: bool,
}

fn case(fixture: &Fixtures, number: usize) -> Case {
    let numbers = fixture.floats(&format!("case.{number}"));
    let point = MosaicPoint { x: numbers[1] as u32, y: numbers[2] as u32, canvas: 2 * SIDE };
    let affine = AffineDraw::of(std::array::from_fn(|place| f64::from(numbers[3 + place])));
    Case { point: (numbers[0] == 1.0).then_some(point), affine, rotates: numbers[3] != 0.0 }
}

#[test]
fn pixels_are_those_of_the_formulas_and_close_to_opencvs() {
    let fixture = Fixtures::open("mosaic.safetensors");
    let parts: Vec<_> = (0..PARTS).map(|part| fixture.image(&format!("part.{part}"))).collect();
    let bytes: Vec<Samples<u8>> = parts
        .iter()
        .map(|part| Samples { size: part.dimensions(), channels: 3, values: part.as_raw() })
        .collect();
    let floats: Vec<Vec<f32>> =
        parts.iter().map(|part| part.as_raw().iter().map(|&value| f32::from(value)).collect()).collect();
    for number in 0..CASES {
        let Case { point, affine, .. } = case(&fixture, number);
        let exact = fixture.floats(&format!("exact.{number}"));
        let canvas = point.map(|point| point.pixels(&bytes, 3, 114));
        let size = point.map_or(bytes[0].size, |point| (point.canvas, point.canvas));
        let source = Samples { size, channels: 3, values: canvas.as_deref().unwrap_or(bytes[0].values) };
        let actual = warp(source, affine.map(size, SIDE), SIDE, 114);
        assert_eq!(actual.len(), exact.len());
        // Rounded to whole numbers; close to a half, floats may round the other way.
        let worst = actual.iter().zip(&exact).map(|(a, b)| (f32::from(*a) - b).abs()).fold(0.0, f32::max);
        assert!(worst < 0.501, "{number}: {worst}");
        // OpenCV rounds each coordinate to 1/32 pixel: an error of at most 1/64 on each axis of a step of 255.
        let opencv = fixture.image(&format!("opencv.{number}"));
        let worst = actual.iter().zip(opencv.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= 9, "{number}: {worst}");
        // Floats have the same pixels, without rounding.
        let views: Vec<Samples<f32>> = floats
            .iter()
            .zip(&bytes)
            .map(|(values, bytes)| Samples { size: bytes.size, channels: 3, values })
            .collect();
        let canvas = point.map(|point| point.pixels(&views, 3, 114.0));
        let source = Samples { size, channels: 3, values: canvas.as_deref().unwrap_or(views[0].values) };
        let actual = warp(source, affine.map(size, SIDE), SIDE, 114.0);
        let worst = actual.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "{number}: {worst}");
    }
}

#[test]
fn boxes_are_those_of_the_formulas_and_tighter_under_rotation() {
    let fixture = Fixtures::open("mosaic.safetensors");
    let boxes = fixture.floats("boxes");
    let area = |numbers: &[f32]| {
        let [left, top, right, bottom] = [0, 1, 2, 3].map(|side| f64::from(numbers[side]));
        BoxArea { left, top, right, bottom }
    };
    let (mut kept, mut dropped) = (0, 0);
    for number in 0..CASES {
        let Case { point, affine, rotates } = case(&fixture, number);
        for part in 0..point.map_or(1, |_| PARTS) {
            let size = fixture.image(&format!("part.{part}")).dimensions();
            let placed = point.map_or(Geometry::identity(size), |point| point.geometry(part, size));
            let canvas = placed.output.into();
            let moved = Geometry::identity(canvas).then(affine.map(canvas, SIDE), (SIDE, SIDE));
            let chain = GeometryChain(vec![Geometry::identity(size), placed, moved]);
            let expected = fixture.floats(&format!("boxes.{number}.{part}"));
            for (index, expected) in expected.chunks_exact(5).enumerate() {
                let object = LabelledBox::new(0, area(&boxes[(part * 12 + index) * 4..]));
                let actual = chain.kept_boxes(&[object], &BoxFilter::training(2));
                let what = format!("case {number}, part {part}, box {index}: {actual:?} {expected:?}");
                let wanted = area(expected);
                match actual[..] {
                    [LabelledBox { area: actual, .. }] if !rotates => {
                        assert_eq!(expected[4], 1.0, "{what}");
                        let pairs = [
                            (actual.left, wanted.left),
                            (actual.top, wanted.top),
                            (actual.right, wanted.right),
                            (actual.bottom, wanted.bottom),
                        ];
                        assert!(pairs.iter().all(|(a, b)| (a - b).abs() < 1e-6), "{what}");
                        kept += 1;
                    }
                    [] if !rotates => {
                        assert_eq!(expected[4], 0.0, "{what}");
                        dropped += 1;
                    }
                    [LabelledBox { area: actual, .. }] => {
                        let inside = actual.left > wanted.left - 1e-6
                            && actual.top > wanted.top - 1e-6
                            && actual.right < wanted.right + 1e-6
                            && actual.bottom < wanted.bottom + 1e-6;
                        assert!(inside, "{what}");
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(kept > 40 && dropped > 40, "{kept} {dropped}");
}
