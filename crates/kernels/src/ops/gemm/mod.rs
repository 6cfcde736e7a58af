//! Matrix products, the one engine under convolution and linear layers.
//!
//! Every output element is the same sequence of fused multiply-adds, whatever the shape around it: k ascending from
//! zero within blocks of the inner dimension that depend on its length alone, and those sums added in order. So a
//! row's bits depend on no other row, on no tail, on no thread, and are the same on all profiles.
//!
//! Operands are packed by their sources ([`LeftSource`], [`RightSource`]), so that a convolution packs straight from
//! the image; after packing, all is one blocking (`product`) and one register kernel for each profile. Blocking after
//! Goto and van de Geijn, *Anatomy of High-Performance Matrix Multiplication* (2008). The room knows no tensors.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod buffer;
mod kernel;
mod matrix;
mod output;
mod portable;
mod prepared;
mod product;
mod source;
#[cfg(test)]
mod tests;

pub(in crate::ops) use kernel::{BLOCK_COLUMNS, Epilogue, Layout, ROW_STRIDE};
pub(in crate::ops) use matrix::copy_run;
pub use matrix::{Matrix, gemm};
pub(in crate::ops) use output::{Output, RowOffsets, written};
pub(in crate::ops) use prepared::{LeftRows, PanelShape, Panels};
pub(in crate::ops) use product::Product;
pub(in crate::ops) use source::{LeftSource, Packed, Right, RightSource, Tiles};
