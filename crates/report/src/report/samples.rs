//! Sample images: small pictures of some images of each class and split, for the page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::boxes::{ImageBox, jpeg, lay_over, scaled};
use super::png::pixels;
use super::svg::{Paint, Stroke, Svg};
use super::text::count;
use crate::data::Split;
use crate::error::Result;
use crate::sanitize;

/// The longer side of a picture in pixels: twice its size on the page, for print and sharp screens.
const SIDE: u32 = 144;
const LINE: f64 = 3.0;

/// The classes that are shown, and the numbers of their training, validation and test images. The first row with room
/// for all classes applies, else the last.
const ROOM: [(usize, [usize; 3]); 3] = [(12, [4, 2, 2]), (24, [2, 1, 1]), (32, [1, 1, 1])];

/// The sample images of a data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SampleImages {
    /// In the order of the model's outputs.
    pub classes: Vec<ClassSamples>,
    /// The number of classes that are not shown.
    pub more_classes: usize,
}

/// The sample images of a class, by split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassSamples {
    pub name: String,
    pub images: Vec<SampleImage>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleImage {
    /// The path below the data set's root.
    pub file: String,
    pub part: Split,
    pub width: u32,
    pub height: u32,
    /// A JPEG file, in Base64.
    pub jpeg: String,
}

impl SampleImages {
    /// The numbers of classes, and of training, validation and test images of each, that are shown of a data set.
    pub fn room(classes: usize) -> (usize, [usize; 3]) {
        let fits = ROOM.into_iter().find(|(most, _)| classes <= *most);
        let (most, images) = fits.unwrap_or(ROOM[ROOM.len() - 1]);
        (most.min(classes), images)
    }
}

impl SampleImage {
    /// Draws a small picture of an image with the boxes of its class.
    ///
    /// # Errors
    /// The layer of boxes cannot be rendered, or the picture cannot be encoded.
    pub fn of(file: &str, part: Split, image: &RgbImage, boxes: &[ImageBox]) -> Result<Self> {
        let longer = image.width().max(image.height()).max(1);
        let scale = f64::from(SIDE.min(longer)) / f64::from(longer);
        let mut picture = scaled(image, scale);
        let (width, height) = (picture.width(), picture.height());
        if !boxes.is_empty() {
            let mut svg = Svg::transparent("boxes", f64::from(width), f64::from(height));
            for shown in boxes {
                let [left, top, right, bottom] = [shown.left, shown.top, shown.right, shown.bottom]
                    .map(|corner| f64::from(corner) * scale);
                let stroke = Stroke::new(Paint::Box(shown.class), LINE);
                svg.frame([left, top], [(right - left).max(0.0), (bottom - top).max(0.0)], stroke);
            }
            lay_over(&mut picture, &pixels(&svg, 1.0)?);
        }
        let jpeg = STANDARD.encode(jpeg(&picture)?);
        Ok(Self { file: file.to_owned(), part, width, height, jpeg })
    }
}

/// The images of a data set on the page.
pub(super) fn samples<'a>(samples: &'a SampleImages) -> Markup {
    let of_part = |class: &'a ClassSamples, part: Split| -> Vec<&'a SampleImage> {
        class.images.iter().filter(|image| image.part == part).collect()
    };
    let parts = [Split::Train, Split::Validation, Split::Test];
    html! {
        @if samples.classes.iter().any(|class| !class.images.is_empty()) {
            details open {
                summary { "Sample images" }
                div.samples {
                    @for class in samples.classes.iter().filter(|class| !class.images.is_empty()) {
                        div.class {
                            b { (sanitize::line(&class.name)) }
                            div.parts {
                                @for part in parts {
                                    @let images = of_part(class, part);
                                    @if !images.is_empty() {
                                        figure {
                                            div { @for image in images { (picture(image)) } }
                                            figcaption { (part.in_words()) }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                @if samples.more_classes > 0 {
                    p.muted { (count(samples.more_classes as u64)) " more classes are not shown." }
                }
            }
        }
    }
}

fn picture(image: &SampleImage) -> Markup {
    let file = sanitize::line(&image.file);
    html! {
        img alt=(file) title=(file) width=(image.width.div_ceil(2)) height=(image.height.div_ceil(2))
            src={ "data:image/jpeg;base64," (image.jpeg) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn sample(name: &str, part: Split, size: [u32; 2], boxes: &[ImageBox]) -> SampleImage {
        let photo = RgbImage::from_pixel(size[0], size[1], Rgb([200, 210, 220]));
        SampleImage::of(name, part, &photo, boxes).unwrap()
    }

    fn decoded(image: &SampleImage) -> RgbImage {
        image::load_from_memory(&STANDARD.decode(&image.jpeg).unwrap()).unwrap().to_rgb8()
    }

    #[test]
    fn pictures_are_small_and_never_larger_than_their_image() {
        for (size, expected) in [([3000, 1500], [144, 72]), ([20, 30], [20, 30]), ([1, 9000], [1, 144])] {
            let image = sample("a.png", Split::Train, size, &[]);
            assert_eq!([image.width, image.height], expected);
            assert_eq!(decoded(&image).dimensions(), (expected[0], expected[1]));
            assert_eq!(image, sample("a.png", Split::Train, size, &[]));
        }
    }

    #[test]
    fn boxes_of_the_class_are_drawn_at_their_place() {
        let shown = ImageBox { class: 0, score: None, left: 100.0, top: 0.0, right: 200.0, bottom: 200.0 };
        let plain = decoded(&sample("a.png", Split::Train, [288, 288], &[]));
        let boxed = decoded(&sample("a.png", Split::Train, [288, 288], &[shown]));
        let differs = |x, y| {
            let [a, b] = [&plain, &boxed].map(|image| *image.get_pixel(x, y));
            a.0.iter().zip(b.0).any(|(a, b)| a.abs_diff(b) > 60)
        };
        assert!(differs(50, 40) && differs(100, 40) && differs(70, 100));
        assert!(!differs(20, 40) && !differs(75, 40) && !differs(70, 130));
        let wild = [f32::NAN, f32::INFINITY, -1e30].map(|left| ImageBox { left, ..shown });
        sample("a.png", Split::Train, [288, 288], &wild);
    }

    #[test]
    fn the_number_of_images_is_bounded_for_any_number_of_classes() {
        for classes in [0, 1, 12, 13, 24, 25, 32, 33, 1000] {
            let (shown, images) = SampleImages::room(classes);
            assert!(shown <= classes && shown * images.iter().sum::<usize>() <= 96, "{classes}");
            assert!(classes == 0 || shown > 0);
        }
    }

    #[test]
    fn the_page_groups_images_by_class_and_split_and_escapes_names() {
        let images = vec![
            sample("<a>.png", Split::Train, [8, 8], &[]),
            sample("b.png", Split::Train, [8, 8], &[]),
            sample("c.png", Split::Test, [8, 8], &[]),
        ];
        let classes = vec![
            ClassSamples { name: "<cat>".into(), images },
            ClassSamples { name: "empty".into(), images: Vec::new() },
        ];
        let page = samples(&SampleImages { classes, more_classes: 5 }).into_string();
        assert_eq!((page.matches("<img").count(), page.matches("<figure>").count()), (3, 2));
        assert!(page.contains("&lt;cat&gt;") && !page.contains("<a>") && !page.contains("empty"), "{page}");
        assert!(page.contains("5 more classes are not shown"));
        assert_eq!(samples(&SampleImages::default()).into_string(), "");
    }
}
