//! Pixels and boxes: a bright rectangle is drawn, changed with the image, and looked for where its box went.

use image::RgbImage;

use super::*;
use crate::data::fixtures::{assert_box_is_where_the_pixels_are, rectangle_box, with_rectangle};
use crate::random::Purpose;

const SIDE: usize = 48;

fn folder(resize: usize) -> ImageSettings {
    let settings = serde_json::json!({
        "image_size": SIDE, "resize": resize, "normalize": "none",
    });
    serde_json::from_value(settings).unwrap()
}

fn png(image: &RgbImage) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

#[test]
fn every_random_change_moves_the_box_with_the_pixels() {
    let (size, rectangle) = ((120, 90), [30, 20, 75, 60]);
    let file = png(&with_rectangle(size, rectangle));
    for augment in [
        "",
        "horizontal_flip = 0.5",
        "vertical_flip = 0.5",
        "rotation = 40.0",
        "random_resized_crop = { scale = [0.2, 1.0], ratio = [0.5, 2.0] }",
        "horizontal_flip = 0.5\nvertical_flip = 0.5\nrotation = 25.0\nrandom_resized_crop = {}",
        "color_jitter = { brightness = 0.2 }\nhorizontal_flip = 0.5\nrotation = 10.0",
    ] {
        let settings: Augment = toml::from_str(augment).unwrap();
        let transform = Transform::training(&folder(56), None, &settings);
        let picture = transform.open(&file).unwrap();
        let mut scratch = Scratch::default();
        let prepared = transform.prepare(&picture, &mut scratch).unwrap();
        for epoch in 0..20 {
            let stream = || Stream::new(3, Purpose::Augment, epoch, 1);
            let mut numbers = vec![0.0; SIDE * SIDE * 3];
            let moves = transform.finish(&prepared, &mut stream(), &mut scratch, &mut numbers);
            assert_eq!((moves.0[0].source, moves.0[0].output), ([120, 90], [SIDE as u32; 2]));
            let is_bright = |x: usize, y: usize| numbers[(y * SIDE + x) * 3] > 0.4;
            let object = rectangle_box(size, rectangle);
            let what = format!("{augment} in epoch {epoch}");
            assert_box_is_where_the_pixels_are(&moves, object, is_bright, 1.5, &what);
            let mut unkept = vec![0.0; SIDE * SIDE * 3];
            let same = transform.finish_unkept(&picture, &mut stream(), &mut scratch, &mut unkept).unwrap();
            assert!(same == moves && unkept == numbers, "{what}: kept and not kept");
            assert!(transform.moves(size, &mut stream()) == moves, "{what}: without the pixels");
        }
    }
}

/// Files of the eight orientations, all of which show the same picture when they are upright.
#[test]
fn boxes_are_of_the_upright_picture_in_every_format() {
    let (size, rectangle) = ((32, 24), [5, 4, 20, 12]);
    for kind in ["jpg", "png", "webp", "tif"] {
        for orientation in 1..=8 {
            let name = format!("upright_{orientation}.{kind}");
            let file = crate::data::fixtures::bytes(&name);
            let transform =
                Transform::training(&folder(56), None, &toml::from_str("rotation = 20.0").unwrap());
            let picture = transform.open(&file).unwrap();
            assert_eq!(picture.size(), size, "{name}");
            for epoch in 0..5 {
                let mut numbers = vec![0.0; SIDE * SIDE * 3];
                let mut stream = Stream::new(3, Purpose::Augment, epoch, 1);
                let mut scratch = Scratch::default();
                let moves =
                    transform.finish_unkept(&picture, &mut stream, &mut scratch, &mut numbers).unwrap();
                let is_bright = |x: usize, y: usize| numbers[(y * SIDE + x) * 3] > 0.5;
                let object = rectangle_box(size, rectangle);
                assert_box_is_where_the_pixels_are(&moves, object, is_bright, 2.0, &name);
            }
        }
    }
}

#[test]
fn every_fit_moves_the_box_with_the_pixels() {
    for (size, rectangle) in
        [((120, 90), [30, 20, 75, 60]), ((33, 140), [4, 50, 20, 90]), ((20, 16), [2, 3, 18, 9])]
    {
        let file = png(&with_rectangle(size, rectangle));
        let crop = |resize| FitMode::CentreCrop { resize };
        let letterbox = |stride| FitMode::Letterbox { pad: 114.0, stride };
        for fit in [crop(56), crop(48), crop(30), letterbox(48), letterbox(16)] {
            let transform = Transform::evaluation(&folder(56), None).with_fit(fit);
            let (tensor, geometry) = transform.evaluate(&file).unwrap();
            let [width, height] = geometry.output.map(|side| side as usize);
            assert_eq!(tensor.dims(), [1, height, width, 3]);
            let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let is_bright = |x: usize, y: usize| numbers[(y * width + x) * 3] > 0.5;
            let what = format!("{fit:?} of {size:?}");
            let object = rectangle_box(size, rectangle);
            let moves = GeometryChain(vec![geometry]);
            assert_eq!(transform.moves(size, &mut Stream::new(3, Purpose::Augment, 0, 1)), moves, "{what}");
            assert_box_is_where_the_pixels_are(&moves, object, is_bright, 1.0, &what);
            // Whole boxes lead back to the picture.
            if let FitMode::Letterbox { .. } = fit {
                let moved = moves.boxes(&[object], 1.0 - 1e-9);
                let back = GeometryChain(vec![geometry.inverse()]).boxes(&moved, 0.0)[0].area;
                assert!((back.left - object.area.left).abs() < 1e-9, "{what}");
                assert!((back.bottom - object.area.bottom).abs() < 1e-9, "{what}");
                let corner = if geometry.output == [SIDE as u32; 2] { 114.0 / 255.0 } else { numbers[0] };
                assert!(numbers[0] == corner || numbers[0] == 0.0, "{what}: the padding");
            }
        }
    }
}
