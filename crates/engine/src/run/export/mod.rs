//! The model of a finished run, in the formats of other programs.

mod onnx;
mod own_folder;
mod peft;
mod timm;
mod torch;

use own_folder::require_own_folder;
