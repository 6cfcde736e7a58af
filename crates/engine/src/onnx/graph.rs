//! The graph of an ONNX file: nodes, constants, and the image that goes in.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use serde_json::Value as Json;

use crate::error::Result;
use crate::protobuf::Message;

const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// The element types of ONNX.
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// The name of the number of images, which is free.
const BATCH: &str = "N";

/// The input.
pub const IMAGE: &str = "image";

/// A graph that grows.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<Message>,
    constants: Vec<Message>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
    /// How many tensors and nodes have a name that starts so.
    used: BTreeMap<String, usize>,
}

/// A tensor of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxTensor {
    pub name: String,
    /// As in the file, with one image: maps are [1, C, H, W].
    pub dims: Vec<usize>,
}

/// An attribute of a node.
pub enum Attribute<'a> {
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
    Float(&'a str, f32),
    Text(&'a str, &'a str),
}

impl Graph {
    /// Declares the input for an image [1, H, W, C], and normalises it.
    pub fn image(&mut self, image: &Tensor, statistics: &[(f64, f64)]) -> Result<OnnxTensor> {
        let (_, height, width, channels) = image.dims4()?;
        let dims = vec![1, channels, height, width];
        self.inputs.push(value_info(IMAGE, &dims, true));
        let input = OnnxTensor { name: IMAGE.to_owned(), dims: dims.clone() };
        let plane = [1, channels, 1, 1];
        let [mean, std] = [|(mean, _): &(f64, f64)| *mean as f32, |(_, std): &(f64, f64)| *std as f32];
        let mean = self.floats("mean", &plane, &statistics.iter().map(mean).collect::<Vec<_>>());
        let std = self.floats("std", &plane, &statistics.iter().map(std).collect::<Vec<_>>());
        let centred = self.node("Sub", &[&input.name, &mean], &[]);
        let name = self.node("Div", &[&centred, &std], &[]);
        Ok(OnnxTensor { name, dims })
    }

    /// Adds a node with one output, and returns the output's name.
    pub fn node(&mut self, operator: &str, inputs: &[&str], attributes: &[Attribute]) -> String {
        self.nodes(operator, inputs, 1, attributes).remove(0)
    }

    /// Adds a node with so many outputs.
    pub fn nodes(
        &mut self,
        operator: &str,
        inputs: &[&str],
        outputs: usize,
        attributes: &[Attribute],
    ) -> Vec<String> {
        let name = self.name(operator);
        let made: Vec<String> = match outputs {
            1 => vec![format!("{name}_output")],
            more => (0..more).map(|output| format!("{name}_output_{output}")).collect(),
        };
        self.push(operator, &name, inputs, &made, attributes);
        made
    }

    /// Adds a node whose output is an output of the file.
    pub fn output(
        &mut self,
        operator: &str,
        inputs: &[&str],
        name: &str,
        dims: &[usize],
        attributes: &[Attribute],
    ) {
        let node = self.name(operator);
        self.push(operator, &node, inputs, &[name.to_owned()], attributes);
        self.outputs.push(value_info(name, dims, true));
    }

    fn push(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        outputs: &[String],
        attributes: &[Attribute],
    ) {
        let attributes: Vec<Message> = attributes.iter().map(Attribute::message).collect();
        let node = Message::default()
            .texts(1, inputs.iter().copied())
            .texts(2, outputs.iter().map(String::as_str))
            .text(3, name)
            .text(4, operator)
            .messages(5, &attributes);
        self.nodes.push(node);
    }

    /// Adds a constant of floats under a name like this one, and returns its name.
    pub fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, dims, FLOAT, &bytes)
    }

    /// The same for whole numbers, such as a shape. 0 in a shape keeps the dimension of the input.
    pub fn ints(&mut self, name: &str, values: &[i64]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, &[values.len()], INT64, &bytes)
    }

    /// A single whole number, which has no axis.
    pub fn index(&mut self, name: &str, value: i64) -> String {
        self.constant(name, &[], INT64, &value.to_le_bytes())
    }

    fn constant(&mut self, name: &str, dims: &[usize], element: i64, bytes: &[u8]) -> String {
        let name = self.name(name);
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        let tensor = Message::default().ints(1, &dims).int(2, element).text(8, &name).bytes(9, bytes);
        self.constants.push(tensor);
        name
    }

    /// A name that no other tensor or node has.
    fn name(&mut self, start: &str) -> String {
        let count = self.used.entry(start.to_owned()).or_insert(0);
        *count += 1;
        if *count == 1 { start.to_owned() } else { format!("{start}_{}", *count - 1) }
    }

    /// The file.
    pub fn file(self, name: &str, metadata: &[(&str, Json)]) -> Vec<u8> {
        let graph = Message::default()
            .messages(1, &self.nodes)
            .text(2, name)
            .messages(5, &self.constants)
            .messages(11, &self.inputs)
            .messages(12, &self.outputs);
        let entry = |(name, value): &(&str, Json)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Message::default().text(1, name).text(2, &text)
        };
        let metadata: Vec<Message> = metadata.iter().map(entry).collect();
        let opset = Message::default().text(1, "").int(2, OPSET);
        Message::default()
            .int(1, IR_VERSION)
            .text(2, "defrost")
            .text(3, env!("CARGO_PKG_VERSION"))
            .message(7, &graph)
            .message(8, &opset)
            .messages(14, &metadata)
            .into_bytes()
    }
}

/// The declaration of an input or output. The first dimension is the number of images, if it is free.
fn value_info(name: &str, dims: &[usize], batch: bool) -> Message {
    let dimension = |(place, &dim): (usize, &usize)| match place {
        0 if batch => Message::default().text(2, BATCH),
        _ => Message::default().int(1, dim as i64),
    };
    let dims: Vec<Message> = dims.iter().enumerate().map(dimension).collect();
    let shape = Message::default().messages(1, &dims);
    let tensor = Message::default().int(1, FLOAT).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

impl Attribute<'_> {
    fn message(&self) -> Message {
        /// The types of attributes.
        const FLOAT: i64 = 1;
        const INT: i64 = 2;
        const STRING: i64 = 3;
        const INTS: i64 = 7;
        let start = |name: &str| Message::default().text(1, name);
        match self {
            Self::Int(name, value) => start(name).int(3, *value).int(20, INT),
            Self::Ints(name, values) => start(name).ints(8, values).int(20, INTS),
            Self::Float(name, value) => start(name).float(2, *value).int(20, FLOAT),
            Self::Text(name, value) => start(name).text(4, value).int(20, STRING),
        }
    }
}

/// The values of a tensor in row-major order.
pub fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
}
