//! Mosaics, affine maps and mixed images of samples with boxes, through the loader.

use std::sync::Arc;

use tempfile::TempDir;

use crate::data::fixtures::{rectangle_box, with_rectangle};
use crate::data::{
    BoxFilter, CacheBudget, Dataset, EpochOrder, ImageBatch, Images, Label, LabelKind, LabelledBox, Loader,
    Sample, Split,
};
use crate::pipeline::{Augment, ImageSettings};
use crate::ranks::BatchShare;

const SIDE: u32 = 48;
const EPOCHS: u32 = 3;

/// Black pictures, each with a white rectangle and its box.
fn data() -> (TempDir, Arc<Dataset>) {
    let root = tempfile::tempdir().unwrap();
    let sample = |number: u32| {
        let (size, path) = ((90 + 4 * number, 70 + 9 * number), format!("{number}.png"));
        let rectangle = [20 + 2 * number, 15 + number, 50 + number, 44];
        with_rectangle(size, rectangle).save(root.path().join(&path)).unwrap();
        let label = Label::Boxes(vec![rectangle_box(size, rectangle)]);
        // The last picture is not one for training.
        let split = if number == 8 { Split::Validation } else { Split::Train };
        Sample { path, label, split, digest: None }
    };
    let samples = (0..9).map(sample).collect();
    let classes = vec!["dark".to_owned(), "bright".to_owned()];
    let (label_kind, root_path) = (LabelKind::Boxes, root.path().to_owned());
    let dataset = Dataset { root: root_path, classes, label_kind, samples, ..Dataset::default() };
    (root, Arc::new(dataset))
}

/// The batches of an epoch. Images have no statistics, and padding is black.
fn batches(
    dataset: &Arc<Dataset>,
    augment: &str,
    (memory, workers): (usize, usize),
    (epoch, first_batch): (u32, usize),
) -> Vec<ImageBatch> {
    let settings = serde_json::json!({
        "image_size": SIDE, "normalize": "none", "fit": { "kind": "letterbox", "pad": 0.0 },
    });
    let settings: ImageSettings = serde_json::from_value(settings).unwrap();
    let augment: Augment = toml::from_str(augment).unwrap();
    let memory = Arc::new(CacheBudget::new(memory));
    let images = Images::for_training(dataset.clone(), &settings, &augment, EPOCHS, memory);
    let epoch = EpochOrder {
        share: BatchShare::all(first_batch),
        seed: 2,
        epoch,
        ..EpochOrder::sequential((0..8).collect(), 3)
    };
    Loader::new(Arc::new(images), epoch, workers).unwrap().map(Result::unwrap).collect()
}

fn numbers(batch: &ImageBatch) -> Vec<f32> {
    batch.images.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

/// Checks that every bright pixel is in a box, and that bright pixels touch every side of every box.
fn assert_boxes_fit_the_pixels(image: &[f32], boxes: &[LabelledBox], threshold: f32, what: &str) {
    let side = f64::from(SIDE);
    let bright: Vec<[f64; 2]> = image
        .chunks_exact(3)
        .enumerate()
        .filter(|(_, pixel)| pixel[0] > threshold)
        .map(|(place, _)| [(place as u32 % SIDE) as f64 + 0.5, (place as u32 / SIDE) as f64 + 0.5])
        .collect();
    let areas: Vec<[f64; 4]> = boxes
        .iter()
        .map(|object| {
            let area = object.area;
            [area.left * side, area.top * side, area.right * side, area.bottom * side]
        })
        .collect();
    let within = |[x, y]: [f64; 2], [left, top, right, bottom]: [f64; 4], slack: f64| {
        x > left - slack && x < right + slack && y > top - slack && y < bottom + slack
    };
    for place in &bright {
        assert!(
            areas.iter().any(|area| within(*place, *area, 1.5)),
            "{what}: {place:?} is in none of {areas:?}"
        );
    }
    for area @ [left, top, right, bottom] in &areas {
        // Thinner than the pixels.
        if right - left < 2.0 || bottom - top < 2.0 {
            continue;
        }
        let own: Vec<_> = bright.iter().filter(|place| within(**place, *area, 0.5)).collect();
        let ends = own.iter().fold([f64::MAX, f64::MAX, f64::MIN, f64::MIN], |ends, [x, y]| {
            [ends[0].min(*x), ends[1].min(*y), ends[2].max(*x), ends[3].max(*y)]
        });
        let near = ends.iter().zip([left, top, right, bottom]).all(|(seen, told)| (seen - told).abs() < 2.5);
        assert!(near, "{what}: pixels at {ends:?}, box at {area:?}");
    }
}

#[test]
fn boxes_are_where_their_pixels_are_for_all_settings() {
    let (_root, dataset) = data();
    for (augment, threshold) in [
        ("mosaic = {}", 0.5),
        ("mosaic = {}\nhorizontal_flip = 0.5\nvertical_flip = 0.5\naffine = {}", 0.5),
        ("affine = {}", 0.5),
        ("affine = { degrees = 60, shear = 10, scale = 0.2 }\nhorizontal_flip = 0.5", 0.5),
        ("mosaic = { probability = 0.5 }\naffine = { degrees = 30, scale = 0.3, shear = 5 }", 0.5),
        ("mosaic = {}\nmixup = { alpha = 32 }\naffine = { scale = 0.2 }", 0.15),
        ("mixup = { alpha = 32, probability = 0.5 }\naffine = { scale = 0.2 }\nrotation = 20", 0.15),
        ("horizontal_flip = 0.5\nrotation = 20", 0.5),
    ] {
        let augment = format!("close_mosaic = 0\n{augment}");
        let (mut mosaics, mut images) = (0, 0);
        for epoch in 0..4 {
            for batch in batches(&dataset, &augment, (0, 2), (epoch % EPOCHS, 0)) {
                let numbers = numbers(&batch);
                let rows = numbers.chunks_exact((SIDE * SIDE * 3) as usize);
                for ((image, parts), sample) in rows.zip(&batch.parts).zip(&batch.samples) {
                    let what = format!("{augment}\nepoch {epoch}, sample {sample}");
                    assert_eq!(parts[0].sample, *sample);
                    assert!(parts.iter().all(|part| part.sample < 8), "{what}: only training images");
                    mosaics += usize::from(parts.len() >= 4);
                    images += 1;
                    let visible: Vec<_> = parts
                        .iter()
                        .flat_map(|part| {
                            let boxes = dataset.samples[part.sample].label.boxes();
                            part.moves.kept_boxes(boxes, &BoxFilter::VISIBLE)
                        })
                        .collect();
                    assert_boxes_fit_the_pixels(image, &visible, threshold, &what);
                    let kept: Vec<_> = parts.iter().flat_map(|part| part.boxes(&dataset)).collect();
                    let size = |object: &LabelledBox| {
                        let area = object.area;
                        (area.right - area.left).min(area.bottom - area.top) * f64::from(SIDE)
                    };
                    assert!(
                        kept.iter().all(|object| visible.contains(object) && size(object) > 2.0),
                        "{what}"
                    );
                }
            }
        }
        let all = augment.contains("mosaic = {}");
        let some = augment.contains("probability = 0.5 }\naffine = { degrees");
        assert!(if some { mosaics > 8 && mosaics < 24 } else { mosaics == if all { images } else { 0 } });
    }
}

#[test]
fn images_depend_on_neither_workers_nor_memory_nor_where_an_epoch_resumes() {
    let (_root, dataset) = data();
    let augment = "close_mosaic = 0\nmosaic = {}\naffine = { degrees = 5 }\nhsv = {}\n\
                   mixup = { alpha = 32, probability = 0.5 }\nhorizontal_flip = 0.5";
    let contents = |how, from| {
        let all = batches(&dataset, augment, how, from).into_iter();
        all.map(|batch| (batch.index, numbers(&batch), batch.samples, batch.parts)).collect::<Vec<_>>()
    };
    let expected = contents((0, 1), (1, 0));
    assert_eq!(expected.len(), 3);
    for how in [(0, 4), (1 << 20, 1), (1 << 20, 4)] {
        assert!(contents(how, (1, 0)) == expected, "{how:?}");
        assert!(contents(how, (1, 2)) == expected[2..], "{how:?}, resumed");
    }
    assert!(contents((0, 1), (2, 0)) != expected);
}

#[test]
fn the_last_epochs_show_whole_images_one_at_a_time() {
    let (_root, dataset) = data();
    let parts = |augment: &str, epoch| {
        let batches = batches(&dataset, augment, (0, 2), (epoch, 0));
        let mut counts: Vec<usize> =
            batches.iter().flat_map(|batch| batch.parts.iter().map(Vec::len)).collect();
        counts.dedup();
        counts
    };
    for augment in
        ["close_mosaic = 1\nmosaic = {}\nmixup = { alpha = 32 }\n", "mosaic = {}\nclose_mosaic = 1"]
    {
        let whole = if augment.contains("mixup") { 8 } else { 4 };
        assert_eq!(parts(augment, 0), [whole]);
        assert_eq!(parts(augment, 1), [whole]);
        assert_eq!(parts(augment, 2), [1]);
    }
    assert_eq!(parts("mosaic = {}", 0), [1], "closed from the beginning");
    // Without random changes, an image of the last epochs is that of validation, except for half pixels.
    let shown = |augment: &str| {
        let batches = batches(&dataset, augment, (0, 1), (2, 0));
        batches.iter().flat_map(numbers).collect::<Vec<f32>>()
    };
    let (composed, letterbox) = (shown("mosaic = {}"), shown(""));
    let far = composed.iter().zip(&letterbox).filter(|(a, b)| (*a - *b).abs() > 0.51).count();
    assert_eq!(far, 0);
}

#[test]
fn a_broken_picture_leaves_out_the_images_that_show_it() {
    let (root, dataset) = data();
    std::fs::write(root.path().join("3.png"), b"\x89PNG\r\n\x1a\nno more").unwrap();
    let settings = serde_json::json!({ "image_size": SIDE, "normalize": "none", "broken": "skip" });
    let settings: ImageSettings = serde_json::from_value(settings).unwrap();
    let augment: Augment = toml::from_str("close_mosaic = 0\nmosaic = {}").unwrap();
    let memory = Arc::new(CacheBudget::new(0));
    let images = Images::for_training(dataset.clone(), &settings, &augment, EPOCHS, memory);
    let epoch = EpochOrder { seed: 2, ..EpochOrder::sequential((0..8).collect(), 3) };
    let mut loader = Loader::new(Arc::new(images), epoch, 2).unwrap();
    let shown: Vec<usize> = loader.by_ref().flat_map(|batch| batch.unwrap().samples).collect();
    assert!(!shown.contains(&3) && shown.len() < 8 && !shown.is_empty(), "{shown:?}");
    assert_eq!(loader.skipped().keys().collect::<Vec<_>>(), [&3]);
}
