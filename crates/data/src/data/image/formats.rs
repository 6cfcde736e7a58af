//! The table of image formats, and the messages and checks derived from it.

use std::sync::LazyLock;

use super::{DecodeOptions, Image, JpegWorkspace, Region, Scale, jpeg, png};

/// An image format: its names, its signature and its decoder.
pub struct ImageFormat {
    /// The name in messages: `JPEG`.
    pub name: &'static str,
    /// File extensions in lower case, without the dot.
    pub extensions: &'static [&'static str],
    /// The bytes that every file begins with.
    pub signature: &'static [u8],
    /// Reads the headers of a file.
    pub open: OpenDecoder,
    /// A cheap check that headers and end of a file look complete. If they do not, decoding determines the cause.
    pub looks_whole: fn(&[u8]) -> bool,
}

/// Reads the headers of a file. An error is a cause in lower case, without the file's name.
pub type OpenDecoder = for<'a> fn(&'a [u8]) -> Result<Box<dyn Decoder + 'a>, String>;

/// All formats: one line for each.
pub const IMAGE_FORMATS: &[ImageFormat] = &[jpeg::FORMAT, png::FORMAT];

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

/// Unsupported formats that often have the extension of a supported one: offset and bytes of their signatures.
const OTHER_SIGNATURES: [(usize, &[u8], &str); 7] = [
    (8, b"WEBP", "WebP"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypavif", "AVIF"),
];

/// `neither JPEG nor PNG`
pub static NO_IMAGE_FORMAT: LazyLock<String> = LazyLock::new(|| format!("neither {}", names("", " nor ")));

/// The names of all formats: `JPEG or PNG`.
pub fn image_format_names(joint: &str) -> String {
    list(IMAGE_FORMATS.iter().map(|format| format.name.to_owned()), joint)
}

/// The file extensions of all formats: `.jpg, .jpeg or .png`.
pub fn image_format_extensions(joint: &str) -> String {
    let extensions = IMAGE_FORMATS.iter().flat_map(|format| format.extensions);
    list(extensions.map(|extension| format!(".{extension}")), joint)
}

/// The format of a file, from its content.
pub(super) fn format_of<'f>(formats: &'f [ImageFormat], bytes: &[u8]) -> Result<&'f ImageFormat, String> {
    match formats.iter().find(|format| bytes.starts_with(format.signature)) {
        Some(format) => Ok(format),
        None if bytes.is_empty() => Err("the file is empty".into()),
        None => Err(no_image(bytes)),
    }
}

/// Whether headers and end of a file look complete; false if the format is unknown.
pub fn looks_whole(bytes: &[u8]) -> bool {
    format_of(IMAGE_FORMATS, bytes).is_ok_and(|format| (format.looks_whole)(bytes))
}

fn no_image(bytes: &[u8]) -> String {
    let known = OTHER_SIGNATURES
        .iter()
        .find(|(offset, signature, _)| bytes.get(*offset..).is_some_and(|rest| rest.starts_with(signature)));
    match known {
        Some((_, _, format)) => format!("it is a {format} file, {}", *NO_IMAGE_FORMAT),
        None => format!("it is neither {} file", names("a ", " nor ")),
    }
}

fn names(article: &str, joint: &str) -> String {
    IMAGE_FORMATS.iter().map(|format| format!("{article}{}", format.name)).collect::<Vec<_>>().join(joint)
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
        assert_eq!(*NO_IMAGE_FORMAT, "neither JPEG nor PNG");
        assert_eq!(image_format_names("or"), "JPEG or PNG");
        assert_eq!(image_format_extensions("and"), ".jpg, .jpeg and .png");
    }
}
