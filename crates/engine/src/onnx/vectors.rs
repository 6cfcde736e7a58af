//! Operations on vectors [N, C] and on the channels of pixels and tokens.

use super::graph::{Attribute, values};
use super::operations::Translation;
use crate::error::Result;
use crate::model::TensorId;
use crate::model::trace::{TracedNorm, TracedTensor};

/// The smallest length that a row is divided by, as in PyTorch's `normalize`.
const LEAST_LENGTH: f32 = 1e-12;

impl Translation<'_> {
    /// x · weightᵀ + bias, on [N, C].
    pub fn linear(&mut self, x: &TracedTensor, weight: TensorId, bias: Option<TensorId>) -> Result<String> {
        // A 1×1 convolution's weight has two more axes of one.
        let (outputs, inputs) = self.matrix(weight)?;
        let x = self.tensor(x)?;
        let weight = self.graph.floats("weight", &[outputs, inputs], &values(self.parameter(weight))?);
        let bias = match bias {
            Some(bias) => Some(self.graph.floats("bias", &[outputs], &values(self.parameter(bias))?)),
            None => None,
        };
        let inputs: Vec<&str> = [x.name.as_str(), &weight].into_iter().chain(bias.as_deref()).collect();
        Ok(self.graph.node("Gemm", &inputs, &[Attribute::Int("transB", 1)]))
    }

    /// The rows and columns of a weight.
    fn matrix(&self, weight: TensorId) -> Result<(usize, usize)> {
        let outputs = self.parameter(weight).dim(0)?;
        Ok((outputs, self.parameter(weight).elem_count() / outputs.max(1)))
    }

    pub fn cosines(&mut self, x: &TracedTensor, weight: TensorId) -> Result<String> {
        let (outputs, inputs) = self.matrix(weight)?;
        let mut rows = values(self.parameter(weight))?;
        for row in rows.chunks_mut(inputs.max(1)) {
            let squares: f64 = row.iter().map(|number| f64::from(*number) * f64::from(*number)).sum();
            let length = squares.sqrt().max(f64::from(LEAST_LENGTH));
            row.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
        }
        let x = self.tensor(x)?;
        let weight = self.graph.floats("directions", &[outputs, inputs], &rows);
        Ok(self.graph.node("Gemm", &[&x.name, &weight], &[Attribute::Int("transB", 1)]))
    }

    pub fn normalize_rows(&mut self, x: &TracedTensor, length: f64) -> Result<String> {
        let x = self.tensor(x)?;
        let attributes = [Attribute::Ints("axes", &[-1]), Attribute::Int("keepdims", 1)];
        let norm = self.graph.node("ReduceL2", &[&x.name], &attributes);
        let least = self.graph.floats("least_length", &[], &[LEAST_LENGTH]);
        let norm = self.graph.node("Max", &[&norm, &least], &[]);
        let unit = self.graph.node("Div", &[&x.name, &norm], &[]);
        let length = self.graph.floats("length", &[], &[length as f32]);
        Ok(self.graph.node("Mul", &[&unit, &length], &[]))
    }

    /// Normalisation of vectors with running statistics, as a factor and a summand for each channel.
    pub fn batch_norm(&mut self, x: &TracedTensor, norm: &TracedNorm) -> Result<String> {
        let of = |id: TensorId| values(self.parameter(id));
        let (scale, shift) = (of(norm.weight)?, of(norm.bias)?);
        let (mean, variance) = (of(norm.running_mean)?, of(norm.running_var)?);
        let factors: Vec<f64> = scale
            .iter()
            .zip(&variance)
            .map(|(scale, variance)| f64::from(*scale) / (f64::from(*variance) + norm.eps).sqrt())
            .collect();
        let summands: Vec<f32> = factors
            .iter()
            .zip(shift.iter().zip(&mean))
            .map(|(factor, (shift, mean))| (f64::from(*shift) - f64::from(*mean) * factor) as f32)
            .collect();
        let factors: Vec<f32> = factors.iter().map(|factor| *factor as f32).collect();
        let x = self.tensor(x)?;
        let factor = self.graph.floats("factor", &[factors.len()], &factors);
        let summand = self.graph.floats("summand", &[summands.len()], &summands);
        let scaled = self.graph.node("Mul", &[&x.name, &factor], &[]);
        Ok(self.graph.node("Add", &[&scaled, &summand], &[]))
    }

    /// A linear layer of every pixel or token.
    pub fn pointwise(
        &mut self,
        x: &TracedTensor,
        weight: TensorId,
        bias: Option<TensorId>,
    ) -> Result<String> {
        let (outputs, inputs) = self.matrix(weight)?;
        let numbers = values(self.parameter(weight))?;
        let bias = match bias {
            Some(bias) => values(self.parameter(bias))?,
            None => vec![0.0; outputs],
        };
        let x = self.tensor(x)?;
        let bias = self.graph.floats("bias", &[outputs], &bias);
        match x.dims.len() {
            4 => {
                let weight = self.graph.floats("weight", &[outputs, inputs, 1, 1], &numbers);
                Ok(self.graph.node("Conv", &[&x.name, &weight, &bias], &[]))
            }
            2 => {
                let weight = self.graph.floats("weight", &[outputs, inputs], &numbers);
                Ok(self.graph.node("Gemm", &[&x.name, &weight, &bias], &[Attribute::Int("transB", 1)]))
            }
            _ => {
                let column = |input: usize| (0..outputs).map(move |output| output * inputs + input);
                let turned: Vec<f32> = (0..inputs).flat_map(column).map(|place| numbers[place]).collect();
                let weight = self.graph.floats("weight", &[inputs, outputs], &turned);
                let product = self.graph.node("MatMul", &[&x.name, &weight], &[]);
                Ok(self.graph.node("Add", &[&product, &bias], &[]))
            }
        }
    }

    /// Normalisation over the channels of each pixel or token.
    pub fn layer_norm(
        &mut self,
        x: &TracedTensor,
        weight: TensorId,
        bias: TensorId,
        eps: f64,
    ) -> Result<String> {
        let (weight, bias) = (values(self.parameter(weight))?, values(self.parameter(bias))?);
        let x = self.tensor(x)?;
        let is_map = x.dims.len() == 4;
        let name = if is_map { self.transposed(&x.name, &[0, 2, 3, 1]) } else { x.name };
        let scale = self.graph.floats("weight", &[weight.len()], &weight);
        let shift = self.graph.floats("bias", &[bias.len()], &bias);
        let attributes = [Attribute::Int("axis", -1), Attribute::Float("epsilon", eps as f32)];
        let y = self.graph.node("LayerNormalization", &[&name, &scale, &shift], &attributes);
        Ok(if is_map { self.transposed(&y, &[0, 3, 1, 2]) } else { y })
    }

    /// Each channel times its gain.
    pub fn gained(&mut self, x: &TracedTensor, gain: TensorId) -> Result<String> {
        let gains = values(self.parameter(gain))?;
        let x = self.tensor(x)?;
        let dims: &[usize] = if x.dims.len() == 4 { &[gains.len(), 1, 1] } else { &[gains.len()] };
        let gain = self.graph.floats("gain", dims, &gains);
        Ok(self.graph.node("Mul", &[&x.name, &gain], &[]))
    }
}
