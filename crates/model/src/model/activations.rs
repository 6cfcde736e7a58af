//! The tensors between layers, and those that a network puts out.

use candle_core::{Device, Tensor};

use crate::autograd::Value;
use crate::error::{Error, Result};

/// The name of the class scores among the outputs of a network: [N, classes].
pub const LOGITS: &str = "logits";

/// The name of the embeddings among the outputs of a network: [N, D].
pub const EMBEDDINGS: &str = "embeddings";

/// Tensors that pass from layers to later ones. Each has the images of the batch along its first axis.
///
/// A layer gets them in the order of what it reads; ahead of a layer at which a network is cut they come in the order of
/// the layers that made them, the image first.
#[derive(Clone, Debug)]
pub struct Activations(Vec<Value>);

impl Activations {
    pub(super) fn new(values: Vec<Value>) -> Self {
        Self(values)
    }

    /// Tensors that no gradient flows to.
    pub fn constants(tensors: impl IntoIterator<Item = Tensor>) -> Self {
        Self(tensors.into_iter().map(Value::constant).collect())
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.0.iter().map(Value::tensor)
    }

    /// Each tensor changed, as a constant.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn map(&self, change: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.tensors().map(change).collect::<Result<Vec<_>>>().map(Self::constants)
    }

    /// The device of the tensors.
    ///
    /// # Errors
    /// There are none.
    pub fn device(&self) -> Result<&Device> {
        Ok(self.first()?.device())
    }

    /// The number of images.
    ///
    /// # Errors
    /// There are no tensors.
    pub fn images(&self) -> Result<usize> {
        Ok(self.first()?.dim(0)?)
    }

    fn first(&self) -> Result<&Tensor> {
        self.tensors().next().ok_or_else(|| Error::bug("no activation where there is at least one"))
    }

    /// The one value of a chain.
    ///
    /// # Errors
    /// There are none or several.
    pub fn only(self) -> Result<Value> {
        self.exactly().map(|[value]| value)
    }

    /// As many values as a layer reads.
    ///
    /// # Errors
    /// There are fewer or more.
    pub fn exactly<const N: usize>(self) -> Result<[Value; N]> {
        <[Value; N]>::try_from(self.0)
            .map_err(|values| Error::bug(format!("{} activations in place of {N}", values.len())))
    }

    pub(super) fn into_values(self) -> Vec<Value> {
        self.0
    }
}

impl From<Value> for Activations {
    fn from(value: Value) -> Self {
        Self(vec![value])
    }
}

/// What a network puts out: one tensor or several, by name.
#[derive(Clone, Debug)]
pub struct Outputs {
    names: &'static [&'static str],
    values: Vec<Value>,
}

impl Outputs {
    /// # Errors
    /// Not one value for each name.
    pub fn new(names: &'static [&'static str], values: Activations) -> Result<Self> {
        let values = values.into_values();
        match values.len() == names.len() {
            true => Ok(Self { names, values }),
            false => Err(Error::bug(format!("{} outputs under {} names", values.len(), names.len()))),
        }
    }

    /// The output of this name.
    ///
    /// # Errors
    /// The network has none of this name.
    pub fn get(&self, name: &str) -> Result<&Value> {
        let place = self.names.iter().position(|known| *known == name);
        let place = place.ok_or_else(|| Error::bug(format!("the network has no output `{name}`")))?;
        Ok(&self.values[place])
    }

    /// Each tensor changed, as a constant.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn map(&self, change: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let values = self.tensors().map(change).collect::<Result<Vec<_>>>()?;
        Ok(Self { names: self.names, values: values.into_iter().map(Value::constant).collect() })
    }

    /// Each value changed, with its gradient.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn map_values(&self, change: impl FnMut(&Value) -> Result<Value>) -> Result<Self> {
        let values = self.values.iter().map(change).collect::<Result<_>>()?;
        Ok(Self { names: self.names, values })
    }

    /// The class scores [N, classes].
    ///
    /// # Errors
    /// The network puts out something else.
    pub fn logits(&self) -> Result<&Value> {
        self.get(LOGITS)
    }

    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.values.iter().map(Value::tensor)
    }
}
