//! Transforms, against what torchvision makes of the same images.

use super::*;
use crate::data::fixtures::{Fixtures, bytes};
use crate::pipeline::{ColorJitter, RandomResizedCrop, ResizeRounding};
use crate::random::Purpose;

fn folder(image_size: usize, resize: Option<usize>) -> ImageSettings {
    serde_json::from_value(serde_json::json!({ "image_size": image_size, "resize": resize })).unwrap()
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
        let framing = transform.fit.framing(source.dimensions(), transform.size);
        let source = Image::Rgb8(source);
        let image =
            transform.frame(PixelSource::Decoded(&source), &framing, &mut Scratch::default()).unwrap();
        let mut actual = vec![0.0; numbers[1] * numbers[1] * 3];
        transform.normalizer.image(&image, &mut actual);
        assert_eq!(actual, fixtures.floats(&format!("{case}:tensor")), "{case}");
        compared += 1;
    }
    assert_eq!(compared, 7);
}

fn resize(resize: u32) -> FitMode {
    FitMode::CentreCrop { resize }
}

#[test]
fn the_shorter_side_defaults_to_an_eighth_more() {
    assert_eq!(Transform::evaluation(&folder(224, None), None).fit, resize(256));
    assert_eq!(Transform::evaluation(&folder(224, None), Some(64)).fit, resize(73));
    assert_eq!(Transform::evaluation(&folder(224, Some(240)), Some(64)).fit, resize(240));
}

#[test]
fn the_shorter_side_is_rounded_as_the_setting_says() {
    let side = |image_size: usize, rounding: ResizeRounding| {
        let folder = ImageSettings { resize_rounding: rounding, ..folder(image_size, None) };
        Transform::evaluation(&folder, None).fit
    };
    for size in 1..=4096 {
        // timm: math.floor(img_size / crop_pct).
        assert_eq!(side(size, ResizeRounding::Down), resize((size as f64 / 0.875).floor() as u32), "{size}");
        assert_eq!(
            side(size, ResizeRounding::Nearest),
            resize((size as f64 / 0.875).round() as u32),
            "{size}"
        );
    }
    assert_eq!(
        (side(160, ResizeRounding::Nearest), side(160, ResizeRounding::Down)),
        (resize(183), resize(182))
    );
}

#[test]
fn the_settings_of_a_data_set_reach_the_decoder() {
    let tensor = |settings: serde_json::Value, file: &str| {
        let mut all = serde_json::json!({ "image_size": 12, "resize": 12 });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let folder: ImageSettings = serde_json::from_value(all).unwrap();
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
        color_jitter: Some(ColorJitter {
            brightness: 0.3,
            contrast: 0.3,
            saturation: 0.3,
            hue: 0.1,
            probability: 1.0,
        }),
        ..Augment::default()
    };
    let transform = Transform::training(&folder(16, None), None, &augment);
    let file = bytes("baseline_420.jpg");
    let make = |epoch, sample| {
        let mut out = vec![0.0; 16 * 16 * 3];
        let mut scratch = Scratch::default();
        let mut stream = Stream::new(1, Purpose::Augment, epoch, sample);
        transform
            .finish_unkept(&transform.open(&file).unwrap(), &mut stream, &mut scratch, &mut out)
            .unwrap();
        out
    };
    assert_eq!(make(0, 0), make(0, 0));
    assert_ne!(make(0, 0), make(1, 0));
    assert_ne!(make(0, 0), make(0, 1));
}
