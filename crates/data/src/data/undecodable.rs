//! Finds images that cannot be decoded without training on them: by their headers, or by decoding everything.
//!
//! Causes have the same text as in a stage, because both use the same decoder.

use std::collections::BTreeSet;

use rayon::prelude::*;
use serde::Serialize;

use super::Split;
use super::dataset::Dataset;
use super::image::{ImageReader, looks_whole};
use super::loader::LARGEST_IMAGE;
use crate::digest::Digest;
use crate::regular_file;
use crate::{Error, Result};

/// An image that cannot be decoded, by its path below the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BrokenImage {
    pub file: String,
    /// Such as `the JPEG data is cut off`.
    pub cause: String,
}

/// How thoroughly to check files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeCheck {
    /// Checks headers and file end: finds files that are empty, truncated or of another format.
    Headers,
    /// Decodes everything, as a stage does.
    Whole,
}

impl Dataset {
    /// The images of `samples` that cannot be decoded, in order. Reads in parallel.
    pub fn broken(&self, samples: &[usize], look: DecodeCheck, reader: &ImageReader) -> Vec<BrokenImage> {
        let broken = |&index: &usize| {
            let file = self.samples[index].path.clone();
            let cause = match regular_file::read(&self.file(index), LARGEST_IMAGE) {
                Ok(bytes) => look.cause(&bytes, reader)?,
                Err(error) => format!("it cannot be read: {error}"),
            };
            Some(BrokenImage { file, cause })
        };
        samples.par_iter().filter_map(broken).collect()
    }

    /// The cause for each image that a stage could not decode. Each file is read again: the store may record only that
    /// decoding failed, and the text must be the same in every run.
    ///
    /// # Errors
    /// A file that cannot be read, or that has changed since.
    pub fn causes(&self, paths: &BTreeSet<&str>, reader: &ImageReader) -> Result<Vec<BrokenImage>> {
        let sample = |path: &&str| {
            let index = self.samples.binary_search_by(|sample| sample.path.as_str().cmp(path));
            let index = index.map_err(|_| Error::bug(format!("`{path}` is no sample")))?;
            let file = self.file(index);
            let bytes = regular_file::read(&file, LARGEST_IMAGE)
                .map_err(|refused| Error::io("read", &file, refused.into()))?;
            if self.samples[index].digest.is_some_and(|digest| digest != Digest::of(&bytes)) {
                return Err(Error::failed(format!(
                    "`{}` changed while the stage was running",
                    file.display()
                ))
                .hint("run again without changing the data"));
            }
            let cause =
                DecodeCheck::Whole.cause(&bytes, reader).unwrap_or_else(|| "it cannot be decoded".to_owned());
            Ok(BrokenImage { file: (*path).to_owned(), cause })
        };
        paths.iter().map(sample).collect()
    }

    /// The classes whose images in a split are all broken, each with the number of images.
    pub fn classes_without_images(
        &self,
        part: Split,
        is_broken: impl Fn(&str) -> bool,
    ) -> Vec<(&str, usize)> {
        let (mut all, mut broken) = (vec![0; self.classes.len()], vec![0; self.classes.len()]);
        for sample in self.samples.iter().filter(|sample| sample.split == part) {
            let gone = usize::from(is_broken(&sample.path));
            for class in sample.label.classes().iter() {
                all[*class as usize] += 1;
                broken[*class as usize] += gone;
            }
        }
        let names = self.classes.iter().map(String::as_str);
        let counts = names.zip(all).zip(broken);
        counts.filter(|((_, all), broken)| *all > 0 && all == broken).map(|(lost, _)| lost).collect()
    }
}

impl DecodeCheck {
    fn cause(self, bytes: &[u8], reader: &ImageReader) -> Option<String> {
        match self {
            Self::Headers if looks_whole(bytes) => reader.open(bytes).err(),
            // Every suspicious file is decoded, so that the cause is the decoder's.
            Self::Headers | Self::Whole => reader.cause(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn cause(check: DecodeCheck, bytes: &[u8]) -> Option<String> {
        check.cause(bytes, &ImageReader::default())
    }

    #[test]
    fn headers_of_whole_files_are_sound_and_of_cut_ones_are_not() {
        for entry in std::fs::read_dir(fixtures::path("")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !super::super::is_image(std::path::Path::new(&name)) {
                continue;
            }
            let bytes = fixtures::bytes(&name);
            // Those that need a setting of the data set.
            if name.ends_with(".tif") && cause(DecodeCheck::Headers, &bytes).is_some() {
                continue;
            }
            assert_eq!(cause(DecodeCheck::Headers, &bytes), None, "{name}");
            assert!(looks_whole(&bytes), "{name}");
            for length in [0, 1, 8, 30, bytes.len() / 2, bytes.len() - 5] {
                let cut = &bytes[..length];
                let found = cause(DecodeCheck::Headers, cut);
                // Decoders, and therefore stages, do not need the last bytes of a PNG file, or later frames.
                let is_enough = length == bytes.len() - 5 || name == "animated.gif" && length > 30;
                assert!(found.is_some() || is_enough, "{name} cut to {length} bytes");
                assert_eq!(found, cause(DecodeCheck::Whole, cut), "{name} cut to {length} bytes");
            }
        }
        assert_eq!(cause(DecodeCheck::Headers, b"").unwrap(), "the file is empty");
        let avif = b"\0\0\0\x1Cftypavif";
        assert!(
            cause(DecodeCheck::Headers, avif).unwrap().starts_with("it is an AVIF file, none of JPEG, PNG")
        );
    }

    #[test]
    fn damage_inside_a_png_is_found_by_decoding_alone() {
        let mut bytes = fixtures::bytes("rgb8.png");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xFF;
        assert_eq!(cause(DecodeCheck::Headers, &bytes), None);
        assert!(cause(DecodeCheck::Whole, &bytes).unwrap().starts_with("the PNG data is damaged"));
    }

    #[test]
    fn a_class_is_lost_with_the_last_image_of_its_part() {
        let sample = |path: &str, class, split| super::super::Sample {
            path: path.to_owned(),
            label: super::super::Label::Class(class),
            split,
            digest: None,
        };
        let dataset = Dataset {
            root: "unused".into(),
            classes: vec!["ant".into(), "bee".into()],
            samples: vec![
                sample("ant/1.png", 0, Split::Train),
                sample("ant/2.png", 0, Split::Train),
                sample("ant/3.png", 0, Split::Test),
                sample("bee/1.png", 1, Split::Train),
            ],
            ..Dataset::default()
        };
        let lost =
            |part, broken: &[&str]| dataset.classes_without_images(part, |path| broken.contains(&path));
        assert_eq!(lost(Split::Train, &["ant/1.png", "ant/3.png"]), []);
        assert_eq!(lost(Split::Test, &["ant/1.png", "ant/3.png"]), [("ant", 1)]);
        assert_eq!(lost(Split::Train, &["ant/1.png", "ant/2.png"]), [("ant", 2)]);
        assert_eq!(lost(Split::Validation, &[]), [], "a class that was never there is not lost");
    }
}
