//! The layers of architectures: tensor ids and geometry. The values are in a [`super::State`].

use super::description::{NormSpec, TensorId};
use crate::ops::Window;

/// How the borders of an image are padded with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// The same on every side, as PyTorch does.
    Fixed(usize),
    /// As TensorFlow's `SAME`: padding for ⌈size / stride⌉ outputs, with the odd row or column at the bottom or
    /// right.
    Same,
}

/// A convolution without bias.
#[derive(Clone, Debug)]
pub struct Conv2d {
    pub weight: TensorId,
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
    pub padding: Padding,
}

impl Conv2d {
    /// The window over an image of `height` by `width` pixels.
    pub fn window(&self, height: usize, width: usize) -> Window {
        let padding = match self.padding {
            Padding::Fixed(padding) => [padding; 4],
            Padding::Same => {
                let [top, bottom] = self.same(height);
                let [left, right] = self.same(width);
                [top, left, bottom, right]
            }
        };
        Window { kernel: [self.kernel; 2], stride: [self.stride; 2], padding }
    }

    fn same(&self, size: usize) -> [usize; 2] {
        let outputs = size.div_ceil(self.stride);
        let total = ((outputs - 1) * self.stride + self.kernel).saturating_sub(size);
        [total / 2, total - total / 2]
    }
}

/// A convolution with bias.
#[derive(Clone, Debug)]
pub struct BiasedConv2d {
    pub conv: Conv2d,
    pub bias: TensorId,
}

/// Layer normalization over the channels of each pixel or token.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    pub weight: TensorId,
    pub bias: TensorId,
    pub eps: f64,
}

/// A linear layer over every pixel or token.
#[derive(Clone, Debug)]
pub struct Dense {
    pub weight: TensorId,
    pub bias: TensorId,
}

/// Multi-head self-attention: the layer for queries, keys and values, and the output projection.
#[derive(Clone, Debug)]
pub struct Attention {
    pub input: Dense,
    pub output: Dense,
    pub heads: usize,
}

/// Multi-head self-attention in windows, with a table of biases by distance, the layer for queries, keys and values, and
/// the output projection.
#[derive(Clone, Debug)]
pub struct WindowAttention {
    pub table: TensorId,
    pub input: Dense,
    pub output: Dense,
    pub heads: usize,
}

/// Batch normalization over the channels of images, or over the columns of vectors.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// Index into [`super::Description::norms`].
    pub index: usize,
    pub spec: NormSpec,
    pub eps: f64,
    pub momentum: f64,
}

/// A linear layer, or a 1×1 convolution with bias on single-pixel images.
#[derive(Clone, Debug)]
pub struct Linear {
    pub weight: TensorId,
    pub bias: Option<TensorId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_puts_the_odd_row_last_and_follows_each_side() {
        let conv = |kernel, stride| Conv2d { weight: 0, kernel, stride, groups: 1, padding: Padding::Same };
        assert_eq!(conv(3, 2).window(224, 225).padding, [0, 1, 1, 1]);
        assert_eq!(conv(5, 2).window(8, 7).padding, [1, 2, 2, 2]);
        assert_eq!(conv(3, 1).window(7, 7).padding, [1; 4]);
        assert_eq!(conv(1, 2).window(9, 8).padding, [0; 4]);
    }
}
