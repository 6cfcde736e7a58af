//! Pictures of mistakes and of uncertain predictions, in whole runs.

use std::fs;

use image::RgbImage;

use crate::project::{Project, Run};

const FILES: [&str; 2] = ["surest_mistakes.jpg", "least_sure_hits.jpg"];

/// One epoch of random features: some predictions are wrong, and some are right.
fn project() -> Project {
    let project = Project::new();
    project.edit("epochs    = 3", "epochs    = 1");
    project.edit("test = 0.25", "test = 0.5");
    project
}

fn bytes(run: &Run, stage: &str, file: &str) -> Option<Vec<u8>> {
    fs::read(run.directory.join(format!("stages/{stage}/{file}"))).ok()
}

fn picture(bytes: &[u8]) -> RgbImage {
    image::load_from_memory_with_format(bytes, image::ImageFormat::Jpeg).unwrap().to_rgb8()
}

/// The numbers of wrong and of right predictions.
fn counts(run: &Run, stage: &str) -> [usize; 2] {
    let table = run.read(&format!("stages/{stage}/predictions.csv"));
    let rows: Vec<csv::StringRecord> =
        csv::Reader::from_reader(table.as_bytes()).records().map(Result::unwrap).collect();
    let wrong = rows.iter().filter(|row| row[1] != row[2]).count();
    [wrong, rows.len() - wrong]
}

/// The lengths in bytes of the JPEG files in a page, without sample images.
fn in_page(page: &str) -> Vec<usize> {
    let photos = page.split("<img class=\"photo\"").skip(1);
    let sources = photos.map(|rest| rest.split_once("src=\"data:image/jpeg;base64,").unwrap().1);
    let bytes = sources.map(|rest| {
        let text = &rest[..rest.find('"').unwrap()];
        text.len() / 4 * 3 - text.chars().rev().take_while(|character| *character == '=').count()
    });
    bytes.collect()
}

#[test]
fn an_evaluation_shows_the_surest_mistakes_and_the_least_sure_hits() {
    let (project, other) = (project(), project());
    let run = project.run(&["--threads", "1"]);
    let counts = counts(&run, "test");
    assert!(counts.iter().all(|count| *count > 0), "both kinds of predictions: {counts:?}");
    let again = other.run(&["--threads", "3"]);
    let page = run.read("report.html");
    let files = FILES.map(|file| bytes(&run, "test", file).unwrap());
    assert_eq!(in_page(&page), files.each_ref().map(Vec::len));
    for ((file, bytes_of_file), count) in FILES.iter().zip(&files).zip(counts) {
        assert_eq!(bytes(&again, "test", file).as_ref(), Some(bytes_of_file), "{file}");
        assert!(page.contains(&format!("href=\"stages/test/{file}\"")), "{file}");
        assert!(run.manifest().contains(file), "{file}");
        // Rows of up to three images, at most twelve.
        let picture = picture(bytes_of_file);
        let rows = count.min(12).div_ceil(3);
        let expected = 64 + rows as u32 * (216 + 46) + 4;
        assert!(count < 3 || picture.height() == expected, "{file}: {} of {count}", picture.height());
        assert!(count < 3 || picture.width() == 18 + 3 * (2 * 216 + 2 + 14), "{file}");
        // The image, and beside it the image under the colours of its saliency map.
        let mean = |x: u32| {
            let pixels = (0..216 * 216).map(|place| picture.get_pixel(x + place % 216, 64 + place / 216));
            pixels.fold([0u64; 3], |sum, pixel| std::array::from_fn(|c| sum[c] + u64::from(pixel[c])))
        };
        let (image, beside) = (mean(16), mean(16 + 216 + 2));
        assert!(
            image.iter().zip(&beside).any(|(a, b)| a.abs_diff(*b) > 216 * 216 * 10),
            "{image:?} {beside:?}"
        );
    }
    assert!(project.defrost(&["verify", "colours"]).status.success());
    let report = project.defrost(&["report", "colours"]);
    assert!(report.status.success());
    assert_eq!(run.read("report.html"), page);
}

#[test]
fn an_ensemble_has_the_images_alone_and_a_broken_image_is_in_none() {
    let project = project();
    fs::write(project.path().join("photos/red/broken.png"), b"no image").unwrap();
    project.edit("image_size = 32", "image_size = 32\nbroken     = \"skip\"");
    project.edit("from = \"finetune@best\"", "ensemble = [\"frozen@last\", \"finetune@last\"]");
    let run = project.run(&[]);
    let counts = counts(&run, "test");
    for (file, count) in FILES.iter().zip(counts) {
        let Some(bytes) = bytes(&run, "test", file) else { panic!("{file} of {count}") };
        let columns = count.min(12).clamp(4, 6) as u32;
        assert_eq!(picture(&bytes).width(), 18 + columns * (216 + 14), "{file}: {count}");
    }
}
