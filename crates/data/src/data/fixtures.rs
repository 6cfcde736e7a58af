//! Reference results of Pillow and torchvision for the images in `tests/fixtures/data`.

use std::path::PathBuf;

use image::RgbImage;
use safetensors::SafeTensors;

use super::{BoxArea, GeometryChain, LabelledBox};

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/data").join(name)
}

pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).expect("the fixture is committed")
}

pub struct Fixtures(Vec<u8>);

impl Fixtures {
    pub fn open(name: &str) -> Self {
        Self(bytes(name))
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).expect("the fixture is a safetensors file")
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tensors().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    pub fn image(&self, name: &str) -> RgbImage {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).expect("the fixture has this tensor");
        let [height, width, 3] = tensor.shape() else { panic!("{name} is no image") };
        RgbImage::from_raw(*width as u32, *height as u32, tensor.data().to_vec()).expect("sizes agree")
    }

    pub fn doubles(&self, name: &str) -> Vec<f64> {
        let tensors = self.tensors();
        bytemuck::pod_collect_to_vec(tensors.tensor(name).expect("the fixture has this tensor").data())
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = self.tensors();
        bytemuck::pod_collect_to_vec(tensors.tensor(name).expect("the fixture has this tensor").data())
    }
}

/// The unusual, damaged and hostile files of a format, by name without extension. The fuzz tests use them too.
pub fn corpus(kind: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(kind);
    let files = std::fs::read_dir(folder).expect("the corpus is committed");
    let mut files: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("a readable file"))
        })
        .collect();
    files.sort();
    files
}

/// A black image with a white rectangle, given as left, top, right, bottom.
pub fn with_rectangle((width, height): (u32, u32), [left, top, right, bottom]: [u32; 4]) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let inside = (left..right).contains(&x) && (top..bottom).contains(&y);
        image::Rgb([if inside { 255 } else { 0 }; 3])
    })
}

/// The rectangle of [`with_rectangle`] as the box of a label.
pub fn rectangle_box((width, height): (u32, u32), [left, top, right, bottom]: [u32; 4]) -> LabelledBox {
    let share = |place: u32, length: u32| f64::from(place) / f64::from(length);
    let (left, right) = (share(left, width), share(right, width));
    LabelledBox::new(1, BoxArea { left, top: share(top, height), right, bottom: share(bottom, height) })
}

/// Checks that a box after geometric changes is within `slack` pixels of the extent of bright pixels.
pub fn assert_box_is_where_the_pixels_are(
    moves: &GeometryChain,
    object: LabelledBox,
    is_bright: impl Fn(usize, usize) -> bool,
    slack: f64,
    what: &str,
) {
    let [width, height] = moves.0.last().expect("a move").output.map(|side| side as usize);
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let bright: Vec<(usize, usize)> = places.filter(|&(x, y)| is_bright(x, y)).collect();
    let moved = moves.boxes(&[object], 0.0);
    let sides = |area: BoxArea| {
        let (width, height) = (width as f64, height as f64);
        [area.left * width, area.top * height, area.right * width, area.bottom * height]
    };
    let Some(&first) = bright.first() else {
        let [left, top, right, bottom] = moved.first().map_or([0.0; 4], |moved| sides(moved.area));
        assert!(right - left < slack || bottom - top < slack, "{what}: no pixel of {moved:?}");
        return;
    };
    let ends =
        bright.iter().fold([first.0, first.1, first.0, first.1], |[left, top, right, bottom], &(x, y)| {
            [left.min(x), top.min(y), right.max(x), bottom.max(y)]
        });
    let seen = [ends[0], ends[1], ends[2] + 1, ends[3] + 1].map(|place| place as f64);
    let [moved] = moved[..] else { panic!("{what}: pixels at {seen:?} and no box") };
    let told = sides(moved.area);
    let near = seen.iter().zip(told).all(|(seen, told)| (seen - told).abs() <= slack);
    assert!(near, "{what}: pixels at {seen:?}, box at {told:?}");
}
