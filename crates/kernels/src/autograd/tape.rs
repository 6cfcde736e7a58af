//! The tape, its values, and the backward pass.

use candle_core::{Device, Tensor};

use super::accumulate::PendingGradient;
use crate::error::Result;

/// The backward function of one recorded operation, with the tensors saved in the forward pass.
///
/// It is consumed when used, so saved activations are freed during the backward pass. It saves only what its
/// formula needs: not its output, and no input that needs no gradient.
pub trait Backward: Send {
    /// Computes the gradients of the inputs from the gradient of the output, in recording order.
    ///
    /// `wanted[i]` says whether input `i` leads to a leaf. Only then may, and must, the result hold a gradient
    /// for it, contiguous and of the input's shape. A gradient is a new tensor or `grad` itself (a clone or
    /// reshape, for several inputs if needed), never a saved tensor, because the tape adds to gradients in
    /// place.
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>>;

    /// As [`Backward::backward`], for a gradient without other references. The implementation may overwrite it
    /// with a result.
    fn backward_in_place(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        self.backward(grad, wanted)
    }
}

/// The backward function of an operation with several outputs, such as one that takes channels apart.
pub trait BackwardOfSeveral: Send {
    /// Computes the gradients of the inputs from those of the outputs, in recording order. An output that the loss
    /// does not depend on has none, but at least one has.
    ///
    /// `wanted` and the result are as in [`Backward::backward`], but all gradients are new tensors.
    fn backward(self: Box<Self>, grads: Vec<Option<Tensor>>, wanted: &[bool]) -> Result<Vec<Option<Tensor>>>;
}

/// A tensor in a forward pass: a constant, a leaf, or the output of a recorded operation.
#[derive(Clone, Debug)]
pub struct Value {
    tensor: Tensor,
    node: Option<usize>,
}

impl Value {
    /// A value that receives no gradient.
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor, node: None }
    }

    /// The tensor itself. To stop the gradient, wrap a tensor computed from it as a new constant.
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
    /// `None` for a leaf, for all outputs of an operation but the first, and after use.
    backward: Option<NodeBackward>,
}

enum NodeBackward {
    OfOne(Box<dyn Backward>),
    /// With the number of outputs. They are nodes in a row, the first of which has this.
    OfSeveral(usize, Box<dyn BackwardOfSeveral>),
}

/// The record of one forward pass.
#[derive(Default)]
pub struct Tape {
    nodes: Vec<Node>,
}

impl Tape {
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a leaf: a value whose gradient [`Tape::backward`] returns, such as a trainable parameter.
    pub fn leaf(&mut self, tensor: Tensor) -> Value {
        self.nodes.push(Node { inputs: Vec::new(), backward: None });
        Value { tensor, node: Some(self.nodes.len() - 1) }
    }

    /// Records an operation, unless all its inputs are constants. `backward` is built only if it is needed.
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
        self.nodes.push(Node { inputs, backward: Some(NodeBackward::OfOne(Box::new(backward()))) });
        Value { tensor: output, node: Some(self.nodes.len() - 1) }
    }

    /// As [`Tape::record`], for an operation with several outputs.
    pub fn record_several<B: BackwardOfSeveral + 'static>(
        &mut self,
        inputs: &[&Value],
        outputs: Vec<Tensor>,
        backward: impl FnOnce() -> B,
    ) -> Vec<Value> {
        let inputs: Vec<Option<usize>> = inputs.iter().map(|value| value.node).collect();
        if inputs.iter().all(Option::is_none) {
            return outputs.into_iter().map(Value::constant).collect();
        }
        let first = self.nodes.len();
        let backward = NodeBackward::OfSeveral(outputs.len(), Box::new(backward()));
        self.nodes.push(Node { inputs, backward: Some(backward) });
        let others = 1..outputs.len();
        self.nodes.extend(others.map(|_| Node { inputs: Vec::new(), backward: None }));
        let value = |(place, tensor)| Value { tensor, node: Some(first + place) };
        outputs.into_iter().enumerate().map(value).collect()
    }

    /// Runs the backward pass from a scalar `loss`, and frees each operation's saved tensors after use.
    ///
    /// Gradients of one tensor are added in tape order, so the result has the same bits every time.
    pub fn backward(self, loss: &Value) -> Result<Gradients> {
        self.backward_scaled(loss, 1.0)
    }

    /// As [`Tape::backward`], with the gradients of `scale` times the loss.
    pub fn backward_scaled(mut self, loss: &Value, scale: f64) -> Result<Gradients> {
        let mut grads: Vec<Option<PendingGradient>> = self.nodes.iter().map(|_| None).collect();
        let Some(last) = loss.node else { return Ok(Gradients { grads }) };
        grads[last] = Some(PendingGradient::new(scalar(scale, &loss.tensor)?));
        // Operations recorded after the loss do not affect it. Dropping them frees their activations.
        self.nodes.truncate(last + 1);
        for index in (0..=last).rev() {
            let node = &mut self.nodes[index];
            let Some(backward) = node.backward.take() else { continue };
            let wanted: Vec<bool> = node.inputs.iter().map(Option::is_some).collect();
            let input_grads = match backward {
                NodeBackward::OfOne(backward) => {
                    let Some(slot) = grads[index].take() else { continue };
                    let sharing = slot.ownership();
                    sharing.pending(match slot.is_unique() {
                        true => backward.backward_in_place(slot.into_tensor(), &wanted)?,
                        false => backward.backward(slot.into_tensor(), &wanted)?,
                    })
                }
                NodeBackward::OfSeveral(outputs, backward) => {
                    let slots = grads[index..index + outputs].iter_mut();
                    let slots: Vec<Option<Tensor>> =
                        slots.map(|slot| slot.take().map(PendingGradient::into_tensor)).collect();
                    if slots.iter().all(Option::is_none) {
                        continue;
                    }
                    let found = backward.backward(slots, &wanted)?;
                    found.into_iter().map(|grad| grad.map(PendingGradient::new)).collect()
                }
            };
            debug_assert_eq!(input_grads.len(), node.inputs.len());
            for (input, slot) in node.inputs.iter().zip(input_grads) {
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

/// A number with the type, shape and device of a scalar.
fn scalar(number: f64, like: &Tensor) -> Result<Tensor> {
    let number = Tensor::full(number, like.shape(), &Device::Cpu)?.to_dtype(like.dtype())?;
    Ok(number.to_device(like.device())?)
}

/// The gradients of the leaves of one tape.
pub struct Gradients {
    grads: Vec<Option<PendingGradient>>,
}

impl Gradients {
    /// Removes and returns the gradient of `leaf`; `None` if the loss does not depend on it.
    pub fn take(&mut self, leaf: &Value) -> Option<Tensor> {
        Some(self.grads.get_mut(leaf.node?)?.take()?.into_tensor())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// y = Σ inputs. It returns the output's gradient unchanged, and records when it is dropped.
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

    /// The shape of a residual network: x feeds a branch and a shortcut, and their gradients are added, twice in
    /// sequence. Some of these gradients are the same tensor.
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
        // In the backward pass, `both` returns the same tensor for x and y; then `scaled` adds to the gradient
        // of x.
        let both = sum(&mut tape, &[&x, &y, &scaled], "both", &log);
        let mut grads = tape.backward(&both).unwrap();
        assert_eq!(grads.take(&x).unwrap().to_vec1::<f64>().unwrap(), [3.0, 3.0]);
        assert_eq!(grads.take(&y).unwrap().to_vec1::<f64>().unwrap(), [1.0, 1.0]);
    }

    /// (x, x), whose gradients are subtracted, with zero for a missing one.
    struct Fork;

    impl BackwardOfSeveral for Fork {
        fn backward(self: Box<Self>, grads: Vec<Option<Tensor>>, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
            let [first, second] = [0, 1].map(|index| grads[index].clone());
            let zeros = || Tensor::zeros(2, candle_core::DType::F64, &Device::Cpu);
            let grad = |grad: Option<Tensor>| grad.map_or_else(zeros, Ok);
            Ok(vec![Some((grad(first)? - grad(second)?)?)])
        }
    }

    fn fork(tape: &mut Tape, x: &Value) -> Vec<Value> {
        tape.record_several(&[x], vec![x.tensor().clone(); 2], || Fork)
    }

    #[test]
    fn gradients_of_several_outputs_meet_in_one_operation() {
        let log = Arc::default();
        let grad_of_x = |build: &dyn Fn(&mut Tape, &Value) -> Value| {
            let mut tape = Tape::new();
            let x = leaf(&mut tape);
            let y = build(&mut tape, &x);
            tape.backward(&y).unwrap().take(&x).map(|grad| grad.to_vec1::<f64>().unwrap())
        };
        let both = grad_of_x(&|tape, x| {
            let parts = fork(tape, x);
            let scaled = scale(tape, &parts[0], 5.0);
            sum(tape, &[&scaled, &parts[1], &parts[1], x], "both", &log)
        });
        assert_eq!(both, Some(vec![4.0, 4.0]), "5 − 2 through the fork, 1 around it");
        // The first, whose node holds the operation, and the last, behind which the record ends.
        for (place, expected) in [(0, 3.0), (1, -3.0)] {
            let one = grad_of_x(&|tape, x| {
                let parts = fork(tape, x);
                scale(tape, &parts[place], 3.0)
            });
            assert_eq!(one, Some(vec![expected; 2]));
            let itself = grad_of_x(&|tape, x| fork(tape, x).swap_remove(place));
            assert_eq!(itself, Some(vec![expected / 3.0; 2]));
        }
        let unused = grad_of_x(&|tape, x| {
            fork(tape, x);
            scale(tape, x, 2.0)
        });
        assert_eq!(unused, Some(vec![2.0, 2.0]));
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
