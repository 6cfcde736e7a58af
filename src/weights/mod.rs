//! Weight files: safetensors and PyTorch zip archives in, safetensors out, and strictness about every name and shape.
//!
//! No code from a file is ever executed. The room knows descriptions of models, never networks or stages.
