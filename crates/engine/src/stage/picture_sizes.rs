//! The size of each picture, as the last tensor of its row of features.
//!
//! With it, boxes can move as the pixels did without reading the image again. Width and height are four bytes each,
//! and every byte is a number: both types of stored features have the numbers up to 255 exactly.

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::task::{Annotations, InputObjects};

/// The bytes of width and height.
const BYTES: usize = 8;

/// The sizes of the pictures of a batch, [N, 8], if their annotations have boxes.
pub(super) fn tensor(annotations: &Annotations) -> Result<Option<Tensor>> {
    let Some(objects) = &annotations.objects else { return Ok(None) };
    let size = |image: &InputObjects| {
        image.picture_size().ok_or_else(|| Error::bug("objects in a picture of unknown size"))
    };
    let sizes = objects.iter().map(size).collect::<Result<Vec<_>>>()?;
    let numbers = sizes.iter().flatten().flat_map(|side| side.to_le_bytes()).map(f32::from).collect();
    Ok(Some(Tensor::from_vec(numbers, (sizes.len(), BYTES), &Device::Cpu)?))
}

/// The sizes in stored rows.
pub(super) fn of_rows(rows: &Tensor) -> Result<Vec<[u32; 2]>> {
    let size = |numbers: &Vec<f32>| {
        let bytes: Vec<u8> = numbers.iter().map(|number| *number as u8).collect();
        match bytes.as_chunks().0 {
            [width, height] => Ok([*width, *height].map(u32::from_le_bytes)),
            _ => Err(Error::bug("rows without the sizes of pictures")),
        }
    };
    rows.to_vec2::<f32>()?.iter().map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Geometry;
    use crate::device::round_to_bf16;

    #[test]
    fn sizes_are_exact_in_both_types() {
        for size in [(1, 1), (640, 481), (65_535, 255), (257, 1 << 31), (u32::MAX, 3)] {
            let rows = tensor(&Annotations::of_picture(Geometry::identity(size))).unwrap().unwrap();
            assert_eq!(of_rows(&rows).unwrap(), [[size.0, size.1]]);
            assert_eq!(of_rows(&round_to_bf16(&rows).unwrap()).unwrap(), [[size.0, size.1]]);
        }
        assert!(tensor(&Annotations::of([])).unwrap().is_none());
    }
}
