//! Image formats that are not decoded, so that an error can name them and say how to convert a file.
//!
//! The decoders of HEIC, AVIF, JPEG XL and camera raw files that are well kept are not in Rust, or not under a permissive
//! licence. A vector graphic has no pixels before somebody chooses their number.

use std::path::Path;

use super::formats::{Signature, has};

/// An image format that is not decoded.
pub struct OtherFormat {
    pub name: &'static str,
    /// File extensions in lower case, without the dot.
    extensions: &'static [&'static str],
    signatures: &'static [Signature],
    /// A program's command line, where `IN` is the file and `OUT` is its name without the extension.
    command: &'static str,
}

/// ImageMagick reads most formats.
const MAGICK: &str = "magick IN OUT.png";

const OTHER_FORMATS: &[OtherFormat] = &[
    OtherFormat {
        name: "HEIC",
        extensions: &["heic", "heif", "hif"],
        signatures: &[(4, b"ftyphei"), (4, b"ftyphev"), (4, b"ftypmif1"), (4, b"ftypmif2"), (4, b"ftypmsf1")],
        command: "heif-convert -q 95 IN OUT.jpg",
    },
    OtherFormat {
        name: "AVIF",
        extensions: &["avif", "avifs"],
        signatures: &[(4, b"ftypavi")],
        command: "avifdec IN OUT.png",
    },
    OtherFormat {
        name: "JPEG XL",
        extensions: &["jxl"],
        signatures: &[(0, b"\xFF\x0A"), (0, b"\0\0\0\x0CJXL \r\n\x87\n")],
        command: "djxl IN OUT.png",
    },
    OtherFormat {
        name: "JPEG 2000",
        extensions: &["jp2", "j2k", "jpf", "jpx"],
        signatures: &[(0, b"\0\0\0\x0CjP  "), (0, b"\xFF\x4F\xFF\x51")],
        command: MAGICK,
    },
    OtherFormat {
        name: "SVG",
        extensions: &["svg", "svgz"],
        // Others begin with `<?xml`: see `of`.
        signatures: &[(0, b"<svg"), (0, b"<!DOCTYPE svg")],
        command: "rsvg-convert -w 512 IN -o OUT.png",
    },
    OtherFormat {
        name: "camera raw",
        extensions: &[
            "3fr", "arw", "cr2", "cr3", "crw", "dng", "erf", "iiq", "kdc", "mrw", "nef", "nrw", "orf", "pef",
            "raf", "raw", "rw2", "rwl", "sr2", "srf", "srw", "x3f",
        ],
        signatures: &[
            (0, b"II*\0\x10\0\0\0CR"),
            (4, b"ftypcrx "),
            (0, b"FUJIFILMCCD-RAW"),
            (0, b"IIRO"),
            (0, b"IIRS"),
            (0, b"MMOR"),
            (0, b"IIU\0"),
            (0, b"FOVb"),
        ],
        command: "darktable-cli IN OUT.jpg",
    },
    OtherFormat {
        name: "BigTIFF",
        extensions: &[],
        signatures: &[(0, b"II+\0"), (0, b"MM\0+")],
        command: MAGICK,
    },
    OtherFormat { name: "PAM", extensions: &["pam"], signatures: &[(0, b"P7\n")], command: MAGICK },
    OtherFormat {
        name: "PFM",
        extensions: &["pfm"],
        signatures: &[(0, b"PF\n"), (0, b"Pf\n")],
        command: MAGICK,
    },
    OtherFormat {
        name: "Photoshop",
        extensions: &["psd", "psb"],
        signatures: &[(0, b"8BPS")],
        command: MAGICK,
    },
    OtherFormat {
        name: "OpenEXR",
        extensions: &["exr"],
        signatures: &[(0, b"\x76\x2F\x31\x01")],
        command: MAGICK,
    },
];

impl OtherFormat {
    /// The format of a file, from its content.
    pub(super) fn of(bytes: &[u8]) -> Option<&'static Self> {
        let is_vector = bytes.starts_with(b"<?xml")
            && bytes[..bytes.len().min(1 << 10)].windows(4).any(|window| window == b"<svg");
        let is_kind = |format: &&Self| {
            format.signatures.iter().any(|signature| has(bytes, signature))
                || (is_vector && format.name == "SVG")
        };
        OTHER_FORMATS.iter().find(is_kind)
    }

    /// The format that a file has by its name.
    pub fn of_name(path: &Path) -> Option<&'static Self> {
        let extension = path.extension()?.to_str()?;
        let is_kind =
            |format: &&Self| format.extensions.iter().any(|known| known.eq_ignore_ascii_case(extension));
        OTHER_FORMATS.iter().find(is_kind)
    }

    /// The format of camera raw files, some of which are TIFF files.
    pub(super) fn camera_raw() -> Option<&'static Self> {
        Self::of_name(Path::new("photo.dng"))
    }

    /// `an SVG`
    pub fn with_article(&self) -> String {
        let is_vowel = self.name.starts_with(['A', 'O']) || self.name == "SVG";
        format!("{} {}", if is_vowel { "an" } else { "a" }, self.name)
    }

    /// How to convert a file: `convert it, for example with …`.
    pub fn conversion(&self) -> String {
        format!("convert it, for example with `{}`", self.command_for("photo"))
    }

    /// The command that converts files of that name, without the extension.
    pub fn command_for(&self, name: &str) -> String {
        let extension = self.extensions.first().copied().unwrap_or("tif");
        let extension = if self.name == "camera raw" { "nef" } else { extension };
        self.command.replace("IN", &format!("{name}.{extension}")).replace("OUT", name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_content_and_by_name() {
        let named = |bytes: &[u8]| OtherFormat::of(bytes).map(|format| format.name);
        assert_eq!(named(b"\0\0\0\x18ftypheic\0\0\0\0"), Some("HEIC"));
        assert_eq!(named(b"\0\0\0\x1Cftypavif"), Some("AVIF"));
        assert_eq!(named(b"\0\0\0\x18ftypcrx \0"), Some("camera raw"));
        assert_eq!(named(b"<?xml version=\"1.0\"?>\n<!-- drawn --><svg width=\"1\"/>"), Some("SVG"));
        assert_eq!(named(b"<?xml version=\"1.0\"?>\n<annotation/>"), None);
        assert_eq!(named(b"II*\0\x08\0\0\0CR"), None, "a TIFF file");
        let of_name = |name: &str| OtherFormat::of_name(Path::new(name)).map(|format| format.name);
        assert_eq!(of_name("a/IMG_1.HEIC"), Some("HEIC"));
        assert_eq!(of_name("a/IMG_1.CR2"), Some("camera raw"));
        assert_eq!((of_name("heic"), of_name("a.png"), of_name("a.txt")), (None, None, None));
    }

    #[test]
    fn each_has_a_command_that_converts_it() {
        for format in OTHER_FORMATS {
            let command = format.command_for("photo");
            assert!(!command.contains("IN") && !command.contains("OUT"), "{command}");
            let (article, _) = command.split_once("photo.").unwrap();
            assert!(!article.is_empty(), "{command}");
        }
        assert_eq!(
            OtherFormat::of_name(Path::new("x.heic")).unwrap().conversion(),
            "convert it, for example with `heif-convert -q 95 photo.heic photo.jpg`"
        );
    }
}
