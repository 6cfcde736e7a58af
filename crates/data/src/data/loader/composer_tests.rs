//! A mosaic of four samples, through the loader.

use std::sync::Arc;

use image::RgbImage;
use tempfile::TempDir;

use super::*;
use crate::data::fixtures::{rectangle_box, with_rectangle};
use crate::data::image::Image;
use crate::data::transform::PreparedImage;
use crate::data::{
    Dataset, Geometry, GeometryChain, Label, LabelKind, Region, Sample, Split, Transform, resize,
};
use crate::pipeline::{Augment, Broken, ImageSettings};
use crate::random::Stream;

const SIDE: u32 = 48;
const HALF: u32 = SIDE / 2;

/// Four samples in the quarters of an image: the sample itself, and three that are drawn from all.
struct Tiles {
    samples: u32,
}

impl Composer for Tiles {
    fn parts(&self, sample: usize, draw: &mut Stream) -> Vec<usize> {
        let others = (0..3).map(|_| draw.below(self.samples) as usize);
        std::iter::once(sample).chain(others).collect()
    }

    fn compose(&self, parts: &[Arc<PreparedImage>], _: &mut Stream) -> Composed {
        let mut canvas = RgbImage::new(SIDE, SIDE);
        let mut moves = Vec::new();
        for (part, (left, top)) in parts.iter().zip([(0, 0), (HALF, 0), (0, HALF), (HALF, HALF)]) {
            let image = part.image.clone().into_rgb8().expect("an RGB8 image");
            let tile = resize(&image, Region::of(&image), HALF, HALF);
            image::imageops::replace(&mut canvas, &tile, left.into(), top.into());
            let map = [[0.5, 0.0, f64::from(left)], [0.0, 0.5, f64::from(top)]];
            moves.push(GeometryChain(vec![Geometry::identity((SIDE, SIDE)).then(map, (SIDE, SIDE))]));
        }
        Composed { image: Image::Rgb8(canvas), moves }
    }
}

/// Black pictures, each with a white rectangle and its box.
fn data() -> (TempDir, Arc<Dataset>) {
    let root = tempfile::tempdir().unwrap();
    let sample = |number: u32| {
        let (size, path) = ((90 + number, 70 - number), format!("{number}.png"));
        let rectangle = [20 + 2 * number, 15 + number, 50 + number, 40];
        with_rectangle(size, rectangle).save(root.path().join(&path)).unwrap();
        let label = Label::Boxes(vec![rectangle_box(size, rectangle)]);
        Sample { path, label, split: Split::Train, digest: None }
    };
    let samples = (0..8).map(sample).collect();
    let classes = vec!["dark".to_owned(), "bright".to_owned()];
    let (label_kind, root_path) = (LabelKind::Boxes, root.path().to_owned());
    let dataset = Dataset { root: root_path, classes, label_kind, samples, ..Dataset::default() };
    (root, Arc::new(dataset))
}

fn batches(dataset: &Arc<Dataset>, augment: &str, memory: usize, workers: usize) -> Vec<ImageBatch> {
    let settings = serde_json::json!({ "image_size": SIDE, "resize": SIDE, "normalize": "none" });
    let folder: ImageSettings = serde_json::from_value(settings).unwrap();
    let augment: Augment = toml::from_str(augment).unwrap();
    let transform = Transform::training(&folder, None, &augment);
    let memory = Arc::new(CacheBudget::new(memory));
    let images = Images::new(dataset.clone(), transform, Broken::Error, memory)
        .composed_by(Arc::new(Tiles { samples: dataset.samples.len() as u32 }));
    let epoch = EpochOrder { order: (0..8).collect(), batch_size: 3, first_batch: 0, seed: 2, epoch: 1 };
    Loader::new(Arc::new(images), epoch, workers).unwrap().map(Result::unwrap).collect()
}

#[test]
fn boxes_of_four_samples_are_where_their_pixels_are() {
    let (_root, dataset) = data();
    for augment in ["", "horizontal_flip = 0.5\nvertical_flip = 0.5"] {
        for batch in batches(&dataset, augment, 0, 2) {
            let numbers = batch.images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let images = numbers.chunks_exact((SIDE * SIDE * 3) as usize);
            for ((image, parts), sample) in images.zip(&batch.parts).zip(&batch.samples) {
                assert_eq!((parts.len(), parts[0].sample), (4, *sample));
                let boxes: Vec<_> = parts.iter().flat_map(|part| part.boxes(&dataset, 0.1)).collect();
                assert_eq!(boxes.len(), 4);
                let side = f64::from(SIDE);
                for (place, pixel) in image.chunks_exact(3).enumerate() {
                    let (x, y) = ((place as u32 % SIDE) as f64 + 0.5, (place as u32 / SIDE) as f64 + 0.5);
                    // How far inside a box the pixel is; outside it is negative.
                    let depth = boxes.iter().map(|object| {
                        let area = object.area;
                        let across = (x - area.left * side).min(area.right * side - x);
                        across.min(y - area.top * side).min(area.bottom * side - y)
                    });
                    let depth = depth.fold(f64::NEG_INFINITY, f64::max);
                    if depth.abs() > 1.5 {
                        assert_eq!(pixel[0] > 0.5, depth > 0.0, "{augment} at {x}, {y}");
                    }
                }
            }
        }
    }
}

#[test]
fn composed_images_depend_on_neither_workers_nor_memory() {
    let (_root, dataset) = data();
    let contents = |memory, workers| {
        let contents = batches(&dataset, "horizontal_flip = 0.5", memory, workers).into_iter().map(|batch| {
            let numbers = batch.images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (batch.samples, batch.parts, numbers)
        });
        contents.collect::<Vec<_>>()
    };
    let expected = contents(0, 1);
    assert_eq!(expected.len(), 3);
    for (memory, workers) in [(0, 4), (1 << 20, 1), (1 << 20, 4)] {
        assert!(contents(memory, workers) == expected, "{memory} bytes, {workers} workers");
    }
}
