//! The tape, its values, and the walk back.

use candle_core::{Device, Tensor};

use super::accumulate::Slot;
use crate::error::Result;

/// The backward half of one recorded operation, holding what it saved in the forward pass.
///
/// It is consumed by its one use, so saved activations are freed as the walk back proceeds. It saves what its
/// formula needs and nothing else: neither its output nor an input towards which no gradient flows.
pub trait Backward: Send {
    /// From the gradient of the output to those of the inputs, in the order they were recorded.
    ///
    /// `wanted[i]` says whether input `i` leads to a leaf; only then may, and must, the result hold a gradient
    /// for it, contiguous and of the input's shape. A gradient is a new tensor or `grad` itself (a clone or a
    /// reshape of it, to several inputs if need be), never a saved tensor: the tape adds to gradients in place.
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>>;

    /// As [`Backward::backward`], of a gradient that nobody else holds: it may be changed into a result in place.
    fn backward_in_place(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        self.backward(grad, wanted)
    }
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
    ///
    /// Gradients that meet are added in the order of the tape, so the bits are the same every time.
    pub fn backward(mut self, loss: &Value) -> Result<Gradients> {
        let mut grads: Vec<Option<Slot>> = self.nodes.iter().map(|_| None).collect();
        let Some(last) = loss.node else { return Ok(Gradients { grads }) };
        grads[last] = Some(Slot::new(one(&loss.tensor)?));
        // What was recorded after the loss has no part in it, and may hold activations.
        self.nodes.truncate(last + 1);
        for index in (0..=last).rev() {
            let node = &mut self.nodes[index];
            let Some(backward) = node.backward.take() else { continue };
            let Some(slot) = grads[index].take() else { continue };
            let wanted: Vec<bool> = node.inputs.iter().map(Option::is_some).collect();
            let sharing = slot.sharing();
            let input_grads = match slot.is_alone() {
                true => backward.backward_in_place(slot.into_tensor(), &wanted)?,
                false => backward.backward(slot.into_tensor(), &wanted)?,
            };
            debug_assert_eq!(input_grads.len(), node.inputs.len());
            for (input, slot) in node.inputs.iter().zip(sharing.slots(input_grads)) {
                if let (Some(input), Some(slot)) = (*input, slot) {
                    grads[input] = Some(match grads[input].take() {
                        None => slot,
                        Some(sum) => sum.add(slot)?,
                    });
                }
            }
        }
        Ok(Gradients { grads })
    }
}

/// 1, of the type and on the device of a scalar.
fn one(like: &Tensor) -> Result<Tensor> {
    Ok(Tensor::ones(like.shape(), like.dtype(), &Device::Cpu)?.to_device(like.device())?)
}

/// The gradients of the leaves of one tape.
pub struct Gradients {
    grads: Vec<Option<Slot>>,
}

impl Gradients {
    /// Takes the gradient of `leaf`; `None` if the loss does not depend on it.
    pub fn take(&mut self, leaf: &Value) -> Option<Tensor> {
        Some(self.grads.get_mut(leaf.node?)?.take()?.into_tensor())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// y = Σ inputs, its gradient handed on as it came; notes when it is dropped.
    struct Sum {
        inputs: usize,
        log: Arc<Mutex<Vec<&'static str>>>,
        name: &'static str,
    }

    impl Backward for Sum {
        fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
            assert_eq!(wanted.len(), self.inputs);
            Ok(wanted.iter().map(|wanted| wanted.then(|| grad.clone())).collect())
        }
    }

    impl Drop for Sum {
        fn drop(&mut self) {
            self.log.lock().unwrap().push(self.name);
        }
    }

    /// y = factor · x, whose gradient is a new tensor.
    struct Scale(f64);

    impl Backward for Scale {
        fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
            Ok(vec![Some((grad * self.0)?)])
        }
    }

    fn scale(tape: &mut Tape, x: &Value, factor: f64) -> Value {
        let y = (x.tensor() * factor).unwrap();
        tape.record(&[x], y, || Scale(factor))
    }

    fn sum(
        tape: &mut Tape,
        inputs: &[&Value],
        name: &'static str,
        log: &Arc<Mutex<Vec<&'static str>>>,
    ) -> Value {
        let total = inputs[1..].iter().fold(inputs[0].tensor().clone(), |sum, x| (sum + x.tensor()).unwrap());
        tape.record(inputs, total, || Sum { inputs: inputs.len(), log: log.clone(), name })
    }

    fn leaf(tape: &mut Tape) -> Value {
        tape.leaf(Tensor::new(&[1f64, 2.], &Device::Cpu).unwrap())
    }

    /// The shape of a residual network: x feeds a branch and a shortcut, whose gradients meet again, twice over, some of
    /// them the very same tensor.
    #[test]
    fn gradients_meet_right_in_nested_diamonds() {
        let log = Arc::default();
        let mut tape = Tape::new();
        let x = leaf(&mut tape);
        let branch = scale(&mut tape, &x, 3.0);
        let inner = sum(&mut tape, &[&branch, &x, &x], "inner", &log);
        let outer_branch = scale(&mut tape, &inner, 10.0);
        let outer = sum(&mut tape, &[&outer_branch, &inner, &x], "outer", &log);
        let mut grads = tape.backward(&outer).unwrap();
        // outer = 11·(3x + 2x) + x
        assert_eq!(grads.take(&x).unwrap().to_vec1::<f64>().unwrap(), [56.0, 56.0]);
        assert_eq!(*log.lock().unwrap(), ["outer", "inner"], "each is dropped as soon as it was used");
    }

    #[test]
    fn one_gradient_shared_by_two_leaves_is_not_added_to_in_place() {
        let log = Arc::default();
        let mut tape = Tape::new();
        let (x, y) = (leaf(&mut tape), leaf(&mut tape));
        let scaled = scale(&mut tape, &x, 2.0);
        // Walked back: `both` hands the same tensor to x and y, then `scaled` adds to that of x.
        let both = sum(&mut tape, &[&x, &y, &scaled], "both", &log);
        let mut grads = tape.backward(&both).unwrap();
        assert_eq!(grads.take(&x).unwrap().to_vec1::<f64>().unwrap(), [3.0, 3.0]);
        assert_eq!(grads.take(&y).unwrap().to_vec1::<f64>().unwrap(), [1.0, 1.0]);
    }

    #[test]
    fn constants_leave_no_trace() {
        let mut tape = Tape::new();
        let x = Value::constant(Tensor::new(&[1f64], &Device::Cpu).unwrap());
        let y = tape.record(&[&x], x.tensor().clone(), || -> Scale { panic!("nothing to record") });
        assert!(y.is_constant() && tape.nodes.is_empty());
        assert!(tape.backward(&y).unwrap().take(&y).is_none());
    }
}
