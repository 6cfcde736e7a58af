//! The speed of each step from image file to tensor, on one thread: `cargo bench --bench images FOLDER`.
//!
//! The folder holds JPEG files, preferably of one size such as 640 × 480. Each line is the best of several
//! passes.

use std::hint::black_box;
use std::time::Instant;

use defrost::data::{DecodeOptions, EncodedImage, JpegWorkspace, Region, Scale, Scratch, Transform, resize};
use defrost::pipeline::{Augment, ImageSettings};
use defrost::random::{Purpose, Stream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIDE: usize = 224;

/// Prints the minimum milliseconds per image over several passes.
fn time(name: &str, files: &[Vec<u8>], mut work: impl FnMut(u64, &[u8])) {
    let started = Instant::now();
    let mut best = f64::INFINITY;
    while started.elapsed().as_secs_f64() < 1.5 {
        let pass = Instant::now();
        files.iter().enumerate().for_each(|(index, file)| work(index as u64, file));
        best = best.min(pass.elapsed().as_secs_f64() / files.len() as f64);
    }
    println!("{name:36} {:7.3} ms {:7.0} images/s", best * 1e3, 1.0 / best);
}

/// A training transform: a random resized crop, flipped half of the time.
fn transform(decode: &str, augment: &str) -> Transform {
    let folder = format!("root = \"unused\"\nimage_size = {SIDE}\ndecode = \"{decode}\"");
    let folder: ImageSettings = toml::from_str(&folder).expect("settings of a data set");
    let augment: Augment = toml::from_str(augment).expect("settings of an augmentation");
    Transform::training(&folder, None, &augment)
}

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let Some(folder) = folder else { return println!("name a folder of JPEG files") };
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    paths.sort();
    let files: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("a file")).collect();
    println!("{} files, {} bytes", files.len(), files.iter().map(Vec::len).sum::<usize>());

    let mut workspace = JpegWorkspace::default();
    for scale in Scale::ALL {
        time(&format!("decode at 1/{}", scale.divisor()), &files, |_, file| {
            let picture = EncodedImage::open(file, DecodeOptions::default()).expect("a JPEG file");
            let (width, height) = picture.size();
            let region = Region::whole((scale.of(width), scale.of(height)));
            let image = picture.decode(scale, region, &mut workspace).expect("a whole file");
            workspace.reuse(black_box(image).into_rgb8().expect("an RGB8 image").into_raw());
        });
    }
    let images: Vec<_> =
        files.iter().map(|file| defrost::data::decode(file).expect("a whole file")).collect();
    time("resize the whole", &files, |index, _| {
        let image = &images[index as usize];
        black_box(resize(image, Region::of(image), SIDE as u32, SIDE as u32));
    });
    let cropped = "random_resized_crop = {}\nhorizontal_flip = 0.5";
    for (name, decode, augment) in [
        ("evaluation", "full", ""),
        ("random crop and flip", "full", cropped),
        ("random crop and flip, scaled", "scaled", cropped),
    ] {
        let transform = transform(decode, augment);
        let mut bench = Scratch::default();
        let mut numbers = vec![0.0; SIDE * SIDE * 3];
        let mut epoch = 0;
        time(name, &files, |index, file| {
            epoch += u32::from(index == 0);
            let mut stream = Stream::new(1, Purpose::Augment, epoch, index);
            let picture = EncodedImage::open(file, DecodeOptions::default()).expect("a JPEG file");
            transform.finish_unkept(&picture, &mut stream, &mut bench, &mut numbers).expect("a whole file");
            black_box(&numbers);
        });
    }
}
