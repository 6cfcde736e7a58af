//! The model of a finished run, in the formats of other programs.

mod onnx;
mod timm;
