//! The table of image formats, and the messages and checks derived from it.

use std::sync::LazyLock;

use super::{
    DecodeOptions, Image, JpegWorkspace, OtherFormat, Region, Scale, bmp, gif, jpeg, png, pnm, tiff, webp,
};
use crate::code_path::CodePath;

/// An image format: its names, its signature and its decoder.
pub struct ImageFormat {
    /// The name in messages: `JPEG`.
    pub name: &'static str,
    /// File extensions in lower case, without the dot.
    pub extensions: &'static [&'static str],
    /// Offset and bytes of the signatures, of which every file has one.
    pub signatures: &'static [Signature],
    /// The version of its decoder.
    pub code_path: CodePath,
    /// Reads the headers of a file.
    pub open: OpenDecoder,
    /// A cheap check that headers and end of a file look complete. If they do not, decoding determines the cause.
    pub looks_whole: fn(&[u8]) -> bool,
}

/// Bytes that are at an offset.
pub type Signature = (usize, &'static [u8]);

/// Reads the headers of a file. An error is a cause in lower case, without the file's name.
pub type OpenDecoder = for<'a> fn(&'a [u8]) -> Result<Box<dyn Decoder + 'a>, String>;

/// All formats: one line for each.
pub const IMAGE_FORMATS: &[ImageFormat] =
    &[jpeg::FORMAT, png::FORMAT, webp::FORMAT, bmp::FORMAT, tiff::FORMAT, gif::FORMAT, pnm::FORMAT];

/// A file whose headers have been read.
pub trait Decoder {
    /// Width and height in pixels, as stored.
    fn size(&self) -> (u32, u32);

    /// The EXIF data, without its header.
    fn exif(&self) -> Option<&[u8]>;

    /// Whether the file can be decoded at a smaller scale than its own.
    fn scales(&self) -> bool {
        false
    }

    /// Whether the file can be decoded with these options, as far as its headers show.
    ///
    /// # Errors
    /// A cause, with what to write in the data set.
    fn accepts(&self, _: DecodeOptions) -> Result<(), String> {
        Ok(())
    }

    /// Decodes a region of the stored picture, in pixels of the scale. The result is RGB8 if the options ask for it.
    ///
    /// # Errors
    /// A cause, as for [`ImageFormat::open`]. A damaged file is an error for every region.
    fn decode(
        &self,
        scale: Scale,
        region: Region,
        options: DecodeOptions,
        workspace: &mut JpegWorkspace,
    ) -> Result<Image, String>;
}

/// `none of JPEG, PNG, WebP, BMP, TIFF, GIF and PNM`
pub static NO_IMAGE_FORMAT: LazyLock<String> =
    LazyLock::new(|| format!("none of {}", image_format_names("and")));

/// The names of all formats: `JPEG, PNG, WebP, BMP, TIFF, GIF or PNM`.
pub fn image_format_names(joint: &str) -> String {
    list(IMAGE_FORMATS.iter().map(|format| format.name.to_owned()), joint)
}

/// The file extensions of all formats: `.jpg, .jpeg, … .pgm or .pbm`.
pub fn image_format_extensions(joint: &str) -> String {
    let extensions = IMAGE_FORMATS.iter().flat_map(|format| format.extensions);
    list(extensions.map(|extension| format!(".{extension}")), joint)
}

/// The format of a file, from its content.
pub(super) fn format_of<'f>(formats: &'f [ImageFormat], bytes: &[u8]) -> Result<&'f ImageFormat, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    // Some files of cameras begin as a TIFF file does.
    if let Some(other) = OtherFormat::of(bytes) {
        return Err(format!(
            "it is {} file, {}; {}",
            other.with_article(),
            *NO_IMAGE_FORMAT,
            other.conversion()
        ));
    }
    formats
        .iter()
        .find(|format| format.signatures.iter().any(|signature| has(bytes, signature)))
        .ok_or_else(|| format!("it is not a {} file", image_format_names("or")))
}

/// Whether headers and end of a file look complete; false if the format is unknown.
pub fn looks_whole(bytes: &[u8]) -> bool {
    format_of(IMAGE_FORMATS, bytes).is_ok_and(|format| (format.looks_whole)(bytes))
}

pub(super) fn has(bytes: &[u8], (offset, signature): &Signature) -> bool {
    bytes.get(*offset..).is_some_and(|rest| rest.starts_with(signature))
}

fn list(items: impl Iterator<Item = String>, joint: &str) -> String {
    let items: Vec<String> = items.collect();
    match items.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {joint} {last}", rest.join(", ")),
        _ => items.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_from_the_table() {
        assert_eq!(*NO_IMAGE_FORMAT, "none of JPEG, PNG, WebP, BMP, TIFF, GIF and PNM");
        assert_eq!(image_format_names("or"), "JPEG, PNG, WebP, BMP, TIFF, GIF or PNM");
        let extensions =
            ".jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .tif, .tiff, .gif, .pnm, .ppm, .pgm and .pbm";
        assert_eq!(image_format_extensions("and"), extensions);
    }
}
