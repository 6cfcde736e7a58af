//! The feature map whose gradient explains a prediction.

use candle_core::Tensor;

use super::{Pass, StateDict};
use crate::autograd::Value;
use crate::error::Result;

/// What an explaining pass keeps.
#[derive(Default)]
pub(super) struct Explained {
    /// The last feature map: [N, H, W, C], or [N, T, C] with the class token first.
    map: Option<Value>,
    /// Height and width in patches, if images become tokens.
    patches: Option<[usize; 2]>,
}

/// The last feature map of a batch, with the gradient of a number.
pub(in crate::model) struct FeatureGradient {
    /// [N, H · W, C], without the class token.
    pub features: Tensor,
    /// Of the same shape.
    pub gradient: Tensor,
    /// Height and width.
    pub size: [usize; 2],
}

impl<'a> Pass<'a> {
    /// Inference up to the last feature map; what follows is recorded on the tape, so that
    /// [`Pass::into_feature_gradient`] has a gradient.
    pub(in crate::model) fn explaining(state: &'a StateDict) -> Self {
        Self { explained: Some(Explained::default()), ..Self::inference(state) }
    }

    /// The global average of the last feature map, [N, H, W, C] to [N, C].
    pub(in crate::model) fn average_features(&mut self, x: Value) -> Result<Value> {
        let x = self.feature_map(x);
        self.global_average_pool(&x)
    }

    /// The last feature map, of pixels or tokens: the place that explanations are about. An explaining pass makes it a
    /// leaf; any other pass does nothing.
    pub(in crate::model) fn feature_map(&mut self, x: Value) -> Value {
        let Some(explained) = &mut self.explained else { return x };
        let leaf = self.tape.leaf(x.into_tensor());
        explained.map = Some(leaf.clone());
        leaf
    }

    pub(super) fn keep_patches(&mut self, patches: &Value) -> Result<()> {
        if let Some(explained) = &mut self.explained {
            let (_, height, width, _) = patches.tensor().dims4()?;
            explained.patches = Some([height, width]);
        }
        Ok(())
    }

    /// The last feature map and the gradient of `number` with respect to it; `None` if the network has no such map, or
    /// the number does not depend on it.
    pub(in crate::model) fn into_feature_gradient(self, number: &Value) -> Result<Option<FeatureGradient>> {
        let Some(Explained { map: Some(map), patches }) = self.explained else { return Ok(None) };
        let Some(gradient) = self.tape.backward(number)?.take(&map) else { return Ok(None) };
        let features = map.into_tensor();
        Ok(match (features.dims(), patches) {
            (&[images, height, width, channels], _) => {
                let flat = |tensor: &Tensor| tensor.reshape((images, height * width, channels));
                let (features, gradient) = (flat(&features)?, flat(&gradient)?);
                Some(FeatureGradient { features, gradient, size: [height, width] })
            }
            (&[_, tokens, _], Some(size)) if tokens == 1 + size[0] * size[1] => {
                let without_class = |tensor: &Tensor| tensor.narrow(1, 1, tokens - 1)?.contiguous();
                let (features, gradient) = (without_class(&features)?, without_class(&gradient)?);
                Some(FeatureGradient { features, gradient, size })
            }
            _ => None,
        })
    }
}
