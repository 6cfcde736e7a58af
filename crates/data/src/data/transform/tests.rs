//! Transforms, against what torchvision makes of the same images.

use super::*;
use crate::data::fixtures::{Fixtures, bytes};
use crate::pipeline::{ColorJitter, RandomResizedCrop, ResizeRounding};
use crate::random::Purpose;

fn folder(image_size: usize, resize: Option<usize>) -> ImageFolder {
    serde_json::from_value(serde_json::json!({ "root": "", "image_size": image_size, "resize": resize }))
        .unwrap()
}

#[test]
fn evaluation_is_bit_exact_with_torchvision() {
    let fixtures = Fixtures::open("evaluated.safetensors");
    let mut compared = 0;
    for name in fixtures.names() {
        let Some(case) = name.strip_suffix(":source") else { continue };
        let numbers: Vec<usize> = case.split(':').skip(1).map(|number| number.parse().unwrap()).collect();
        let transform = Transform::evaluation(&folder(numbers[1], Some(numbers[0])), None);
        assert!(transform.is_deterministic());
        let source = fixtures.image(&name);
        let mut bench = Bench::default();
        transform
            .frame(Source::Decoded(&source), &transform.central(source.dimensions()), &mut bench)
            .unwrap();
        let mut actual = vec![0.0; numbers[1] * numbers[1] * 3];
        transform.normalize(&bench.square, (false, false), &mut actual);
        assert_eq!(actual, fixtures.floats(&format!("{case}:tensor")), "{case}");
        compared += 1;
    }
    assert_eq!(compared, 7);
}

#[test]
fn the_shorter_side_defaults_to_an_eighth_more() {
    assert_eq!(Transform::evaluation(&folder(224, None), None).resize, 256);
    assert_eq!(Transform::evaluation(&folder(224, None), Some(64)).resize, 73);
    assert_eq!(Transform::evaluation(&folder(224, Some(240)), Some(64)).resize, 240);
}

#[test]
fn the_shorter_side_is_rounded_as_the_setting_says() {
    let side = |image_size: usize, rounding: ResizeRounding| {
        let folder = ImageFolder { resize_rounding: rounding, ..folder(image_size, None) };
        Transform::evaluation(&folder, None).resize
    };
    for size in 1..=4096 {
        // timm: math.floor(img_size / crop_pct).
        assert_eq!(side(size, ResizeRounding::Down), (size as f64 / 0.875).floor() as u32, "{size}");
        assert_eq!(side(size, ResizeRounding::Nearest), (size as f64 / 0.875).round() as u32, "{size}");
    }
    assert_eq!((side(160, ResizeRounding::Nearest), side(160, ResizeRounding::Down)), (183, 182));
}

#[test]
fn sizes_and_offsets_are_computed_as_torchvision_does() {
    for (shorter, step) in [(1u32, 97usize), (64, 61), (183, 53), (256, 37), (257, 31), (4096, 89)] {
        for width in (1u32..6000).step_by(step) {
            for height in (1u32..6000).step_by(step + 2) {
                // `_compute_resized_image_output_size`: int(requested * long / short), a float division.
                let (short, long) = (f64::from(width.min(height)), f64::from(width.max(height)));
                let longer = (f64::from(shorter) * long / short) as u32;
                let expected = if width <= height { (shorter, longer) } else { (longer, shorter) };
                assert_eq!(resized((width, height), shorter), expected, "{width} × {height} to {shorter}");
            }
        }
    }
    for (length, size) in (1u32..300).flat_map(|length| (1u32..300).map(move |size| (length, size))) {
        let (offset, kept, padding) = central(length, size);
        if length >= size {
            // `center_crop`: int(round((image - crop) / 2.0)), where Python rounds half to even.
            let half = (length - size) / 2;
            let expected = half + (length - size) % 2 * (half % 2);
            assert_eq!((offset, kept, padding), (expected, size, 0), "{length} {size}");
        } else {
            // Padding of (crop - image) // 2 ahead.
            assert_eq!((offset, kept, padding), (0, length, (size - length) / 2), "{length} {size}");
        }
    }
}

#[test]
fn the_settings_of_a_data_set_reach_the_decoder() {
    let tensor = |settings: serde_json::Value, file: &str| {
        let mut all = serde_json::json!({ "root": "", "image_size": 12, "resize": 12 });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let folder: ImageFolder = serde_json::from_value(all).unwrap();
        let tensor = Transform::evaluation(&folder, None).tensor(&bytes(file)).unwrap();
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    for (settings, file) in [
        (serde_json::json!({ "exif_orientation": false }), "orientation_6.jpg"),
        (serde_json::json!({ "transparency": "drop" }), "rgba8.png"),
        (serde_json::json!({ "grey16": "clip" }), "grey16.png"),
    ] {
        assert_ne!(tensor(settings, file), tensor(serde_json::json!({}), file), "{file}");
    }
}

#[test]
fn a_file_becomes_a_tensor_without_random_changes() {
    let augment = Augment { horizontal_flip: 1.0, ..Augment::default() };
    let file = bytes("baseline_420.jpg");
    let tensor = |transform: Transform| transform.tensor(&file).unwrap();
    let plain = tensor(Transform::evaluation(&folder(16, None), None));
    assert_eq!(plain.dims(), [1, 16, 16, 3]);
    let training = tensor(Transform::training(&folder(16, None), None, &augment));
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(numbers(&plain), numbers(&training));
}

#[test]
fn random_changes_depend_on_seed_epoch_and_sample_alone() {
    let augment = Augment {
        random_resized_crop: Some(RandomResizedCrop { scale: [0.1, 1.0], ratio: [0.75, 1.3] }),
        horizontal_flip: 0.5,
        rotation: 20.0,
        color_jitter: Some(ColorJitter { brightness: 0.3, contrast: 0.3, saturation: 0.3, hue: 0.1 }),
        ..Augment::default()
    };
    let transform = Transform::training(&folder(16, None), None, &augment);
    let file = bytes("baseline_420.jpg");
    let make = |epoch, sample| {
        let mut out = vec![0.0; 16 * 16 * 3];
        let mut bench = Bench::default();
        let mut stream = Stream::new(1, Purpose::Augment, epoch, sample);
        transform.finish_unkept(&transform.open(&file).unwrap(), &mut stream, &mut bench, &mut out).unwrap();
        out
    };
    assert_eq!(make(0, 0), make(0, 0));
    assert_ne!(make(0, 0), make(1, 0));
    assert_ne!(make(0, 0), make(0, 1));
}
