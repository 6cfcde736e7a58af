//! The pixels of each tile.

use std::marker::PhantomData;
use std::ops::Range;

use crate::ops::conv2d::geometry::ConvGeometry;

/// The tiles of all images, row by row: each computes 2×2 outputs from 4×4 pixels.
#[derive(Clone, Copy)]
pub struct Tiles {
    pub images: usize,
    /// Height and width of the source, and of the destination.
    pub input: [usize; 2],
    pub output: [usize; 2],
    /// How far the first tile begins before the first pixel, at the top and the left.
    pub padding: [usize; 2],
}

impl Tiles {
    /// The tiles of the forward pass.
    pub fn forward(geometry: &ConvGeometry) -> Self {
        let [top, left, ..] = geometry.window.padding;
        let (images, input, output) = (geometry.images, geometry.input, geometry.output);
        Self { images, input, output, padding: [top, left] }
    }

    /// The tiles of the input gradient: a convolution of the output's gradient with the flipped weights.
    pub fn backward(geometry: &ConvGeometry) -> Self {
        let [top, left, ..] = geometry.window.padding;
        let (images, input, output) = (geometry.images, geometry.output, geometry.input);
        Self { images, input, output, padding: [2 - top, 2 - left] }
    }

    pub fn count(&self) -> usize {
        let [rows, columns] = self.grid();
        self.images * rows * columns
    }

    fn grid(&self) -> [usize; 2] {
        self.output.map(|size| size.div_ceil(2))
    }

    /// The image of a tile, and the row and column of its first output.
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let [rows, columns] = self.grid();
        (tile / (rows * columns), tile / columns % rows * 2, tile % columns * 2)
    }

    /// The indices of the 16 input pixels of a tile, counted through all images; `None` outside.
    pub fn inputs(&self, tile: usize) -> [Option<usize>; 16] {
        let (image, y, x) = self.place(tile);
        let [height, width] = self.input;
        std::array::from_fn(|position| {
            let row = (y + position / 4).wrapping_sub(self.padding[0]);
            let column = (x + position % 4).wrapping_sub(self.padding[1]);
            (row < height && column < width).then(|| (image * height + row) * width + column)
        })
    }

    /// The indices of the 4 output pixels of a tile; `None` outside.
    pub fn outputs(&self, tile: usize) -> [Option<usize>; 4] {
        let (image, y, x) = self.place(tile);
        let [height, width] = self.output;
        std::array::from_fn(|position| {
            let (row, column) = (y + position / 2, x + position % 2);
            (row < height && column < width).then(|| (image * height + row) * width + column)
        })
    }

    /// The offsets of the pixels that a transform reads, tile by tile: those of [`Tiles::inputs`], or those of
    /// [`Tiles::outputs`] followed by nothing. `source` has `channels` elements per pixel; `outside` replaces
    /// pixels outside the image.
    pub fn pixels<'a, T>(
        &self,
        block: Range<usize>,
        of_input: bool,
        source: &'a [T],
        outside: &'a [T],
    ) -> PixelOffsets<'a, T> {
        let channels = outside.len();
        let mut places = vec![[outside.as_ptr(); 16]; block.len()];
        for (places, tile) in places.iter_mut().zip(block) {
            let mut put = |pixels: &[Option<usize>]| {
                for (place, pixel) in places.iter_mut().zip(pixels) {
                    if let Some(pixel) = pixel {
                        *place = source[pixel * channels..][..channels].as_ptr();
                    }
                }
            };
            match of_input {
                true => put(&self.inputs(tile)),
                false => put(&self.outputs(tile)),
            }
        }
        PixelOffsets { places, source: PhantomData }
    }

    /// Cuts the tiles into blocks of at most `most`, of almost equal size.
    pub fn blocks(&self, most: usize) -> Vec<Range<usize>> {
        let count = self.count();
        let blocks = count.div_ceil(most).max(1);
        (0..blocks).map(|block| block * count / blocks..(block + 1) * count / blocks).collect()
    }
}

/// The offsets of some pixels with all channels readable.
pub struct PixelOffsets<'a, T> {
    pub places: Vec<[*const T; 16]>,
    source: PhantomData<&'a [T]>,
}

// SAFETY: it represents a `&[T]`.
unsafe impl<T: Sync> Sync for PixelOffsets<'_, T> {}
