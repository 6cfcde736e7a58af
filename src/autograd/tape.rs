//! The tape, its values, and the walk back.

use candle_core::Tensor;

use crate::error::Result;

/// The backward half of one recorded operation, holding what it saved in the forward pass.
///
/// It is consumed by its one use, so saved activations are freed as the walk back proceeds.
pub trait Backward: Send {
    /// From the gradient of the output to those of the inputs, in the order they were recorded.
    ///
    /// `wanted[i]` says whether input `i` leads to a leaf; only then may, and must, the result hold a gradient
    /// for it, contiguous and of the input's shape.
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>>;
}

/// A tensor on its way through a model: a constant, or the output of a recorded operation or leaf.
#[derive(Clone, Debug)]
pub struct Value {
    tensor: Tensor,
    node: Option<usize>,
}

impl Value {
    /// A value no gradient flows to.
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor, node: None }
    }

    /// The tensor itself. Wrapping what is computed from it as a new constant cuts the gradient, on purpose.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    pub fn is_constant(&self) -> bool {
        self.node.is_none()
    }
}

struct Node {
    inputs: Vec<Option<usize>>,
    /// Absent for a leaf, and once used.
    backward: Option<Box<dyn Backward>>,
}

/// One forward pass, recorded.
#[derive(Default)]
pub struct Tape {
    nodes: Vec<Node>,
}

impl Tape {
    pub fn new() -> Self {
        Self::default()
    }

    /// A value whose gradient [`Tape::backward`] will return: a trainable parameter.
    pub fn leaf(&mut self, tensor: Tensor) -> Value {
        self.nodes.push(Node { inputs: Vec::new(), backward: None });
        Value { tensor, node: Some(self.nodes.len() - 1) }
    }

    /// Puts an operation on the tape unless all its inputs are constants. `backward` is built only when needed.
    pub fn record<B: Backward + 'static>(
        &mut self,
        inputs: &[&Value],
        output: Tensor,
        backward: impl FnOnce() -> B,
    ) -> Value {
        let inputs: Vec<Option<usize>> = inputs.iter().map(|value| value.node).collect();
        if inputs.iter().all(Option::is_none) {
            return Value::constant(output);
        }
        self.nodes.push(Node { inputs, backward: Some(Box::new(backward())) });
        Value { tensor: output, node: Some(self.nodes.len() - 1) }
    }

    /// Walks back from a scalar `loss`, freeing each operation's saved tensors as it goes.
    pub fn backward(mut self, loss: &Value) -> Result<Gradients> {
        let mut grads: Vec<Option<Tensor>> = self.nodes.iter().map(|_| None).collect();
        let Some(last) = loss.node else { return Ok(Gradients { grads }) };
        grads[last] = Some(loss.tensor.ones_like()?);
        for index in (0..=last).rev() {
            let node = &mut self.nodes[index];
            let Some(backward) = node.backward.take() else { continue };
            let Some(grad) = grads[index].take() else { continue };
            let wanted: Vec<bool> = node.inputs.iter().map(Option::is_some).collect();
            let input_grads = backward.backward(grad, &wanted)?;
            debug_assert_eq!(input_grads.len(), node.inputs.len());
            for (input, grad) in node.inputs.iter().zip(input_grads) {
                if let (Some(input), Some(grad)) = (*input, grad) {
                    accumulate(&mut grads[input], grad)?;
                }
            }
        }
        Ok(Gradients { grads })
    }
}

/// Adds into the gradient already there; the order is that of the tape, so the bits are the same every time.
fn accumulate(slot: &mut Option<Tensor>, grad: Tensor) -> Result<()> {
    *slot = Some(match slot.take() {
        None => grad,
        Some(sum) => (sum + grad)?,
    });
    Ok(())
}

/// The gradients of the leaves of one tape.
pub struct Gradients {
    grads: Vec<Option<Tensor>>,
}

impl Gradients {
    /// Takes the gradient of `leaf`; `None` if the loss does not depend on it.
    pub fn take(&mut self, leaf: &Value) -> Option<Tensor> {
        self.grads.get_mut(leaf.node?)?.take()
    }
}
