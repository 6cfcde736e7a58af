//! Which activations layers read, and how long each is kept.

use std::ops::Range;

use super::activations::Activations;
use super::description::{Description, LayerInput, LayerSpec};
use crate::autograd::Value;
use crate::error::{Error, Result};

/// The reads of all layers. The image has slot 0, the activation of layer `i` slot `i + 1`.
pub(super) struct NetworkGraph {
    /// The slots that each layer reads.
    reads: Vec<Vec<usize>>,
    /// The last layer that reads a slot; 0 where none does.
    last: Vec<usize>,
}

impl LayerInput {
    fn slot(self) -> usize {
        match self {
            Self::Image => 0,
            Self::Layer(index) => index + 1,
        }
    }

    fn of_slot(slot: usize) -> Self {
        slot.checked_sub(1).map_or(Self::Image, Self::Layer)
    }
}

impl Description {
    /// What must be kept to run the model from layer `cut` on: the image or the activations of earlier layers, in their
    /// order.
    pub fn crossing(&self, cut: usize) -> Vec<LayerInput> {
        NetworkGraph::new(&self.layers).crossing(cut).map(LayerInput::of_slot).collect()
    }
}

impl NetworkGraph {
    pub fn new(layers: &[LayerSpec]) -> Self {
        let slots = |layer: &LayerSpec| layer.reads.iter().map(|input| input.slot()).collect();
        let reads: Vec<Vec<usize>> = layers.iter().map(slots).collect();
        let mut last = vec![0; layers.len() + 1];
        for (layer, slots) in reads.iter().enumerate() {
            slots.iter().for_each(|&slot| last[slot] = layer);
        }
        Self { reads, last }
    }

    /// The slots filled ahead of layer `cut` that it or a later one reads.
    fn crossing(&self, cut: usize) -> impl Iterator<Item = usize> {
        (0..=cut).filter(move |&slot| self.last[slot] >= cut)
    }

    /// Computes the layers `range` with `layer`. An activation is handed over to the last layer that reads it, and
    /// dropped where none does.
    ///
    /// # Errors
    /// Those of `layer`; not what crosses the cut ahead of `range`.
    pub fn run(
        &self,
        range: Range<usize>,
        input: Activations,
        mut layer: impl FnMut(usize, Activations) -> Result<Value>,
    ) -> Result<Activations> {
        let crossing = self.crossing(range.start).count();
        if input.count() != crossing {
            let (found, start) = (input.count(), range.start);
            return Err(Error::bug(format!(
                "{found} activations in place of {crossing} ahead of layer {start}"
            )));
        }
        let mut kept: Vec<Option<Value>> = vec![None; self.last.len()];
        for (slot, value) in self.crossing(range.start).zip(input.into_values()) {
            kept[slot] = Some(value);
        }
        for index in range.clone() {
            let read =
                |&slot: &usize| if self.last[slot] == index { kept[slot].take() } else { kept[slot].clone() };
            let inputs: Option<Vec<Value>> = self.reads[index].iter().map(read).collect();
            let inputs =
                inputs.ok_or_else(|| Error::bug(format!("layer {index} reads what is not there")))?;
            let value = layer(index, Activations::new(inputs))?;
            if self.last[index + 1] > index {
                kept[index + 1] = Some(value);
            }
        }
        let crossing = self.crossing(range.end).map(|slot| kept[slot].take());
        let crossing: Option<Vec<Value>> = crossing.collect();
        crossing.map(Activations::new).ok_or_else(|| Error::bug("an activation was dropped too early"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LayerOutput;

    fn layer(reads: &[LayerInput]) -> LayerSpec {
        let output = LayerOutput::Vector { channels: 1 };
        LayerSpec { name: String::new(), reads: reads.to_vec(), kind: None, output }
    }

    /// Layers 0 to 4, where 2 reads the image again, 3 reads 0 ahead of 2, and nothing reads 1.
    fn layers() -> Vec<LayerSpec> {
        use LayerInput::{Image, Layer};
        vec![
            layer(&[Image]),
            layer(&[Layer(0)]),
            layer(&[Layer(0), Image]),
            layer(&[Layer(2), Layer(0)]),
            layer(&[Layer(3)]),
        ]
    }

    #[test]
    fn what_crosses_a_cut_is_what_later_layers_read() {
        use LayerInput::{Image, Layer};
        let description = Description { layers: layers(), ..Description::default() };
        let crossing = |cut| description.crossing(cut);
        let expected = [
            vec![Image],
            vec![Image, Layer(0)],
            vec![Image, Layer(0)],
            vec![Layer(0), Layer(2)],
            vec![Layer(3)],
        ];
        assert_eq!([0, 1, 2, 3, 4].map(crossing), expected);
    }

    /// Each value is the number of its slot.
    #[test]
    fn layers_get_what_they_read_in_their_order_from_any_cut() {
        let number = |slot: usize| {
            Value::constant(candle_core::Tensor::new(slot as u32, &candle_core::Device::Cpu).unwrap())
        };
        let numbers = |values: &Activations| -> Vec<u32> {
            values.tensors().map(|tensor| tensor.to_scalar().unwrap()).collect()
        };
        let graph = NetworkGraph::new(&layers());
        let expected = [vec![0], vec![1], vec![1, 0], vec![3, 1], vec![4]];
        for start in 0..5 {
            for end in start..5 {
                let input = Activations::new(graph.crossing(start).map(number).collect());
                let mut seen = Vec::new();
                let output = graph.run(start..end, input, |index, inputs| {
                    seen.push(numbers(&inputs));
                    Ok(number(index + 1))
                });
                assert_eq!(seen, expected[start..end]);
                let crossing: Vec<u32> = graph.crossing(end).map(|slot| slot as u32).collect();
                assert_eq!(numbers(&output.unwrap()), crossing);
            }
        }
        let two = Activations::new(vec![number(0), number(0)]);
        assert!(graph.run(0..1, two, |_, _| unreachable!()).is_err());
    }
}
