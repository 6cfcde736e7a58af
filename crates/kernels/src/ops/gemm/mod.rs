//! Matrix products, used by convolution and linear layers.
//!
//! Every output element is the same sequence of fused multiply-adds for every shape: k ascends from zero within
//! blocks of the inner dimension, whose length alone decides the blocks, and the block sums are added in order.
//! A row's bits therefore depend on no other row, on no remainder and on no thread, and are the same on all
//! profiles.
//!
//! Sources pack the operands ([`LeftSource`], [`RightSource`]), so that a convolution packs from the image. An operand
//! that is a matrix in memory is read where it is, unless its strides strain the cache.
//! After packing, there is one blocking (`product`) and one register kernel per profile. Blocking after Goto and
//! van de Geijn, *Anatomy of High-Performance Matrix Multiplication* (2008). This module never depends on
//! tensors.

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

pub(in crate::ops) use kernel::{BLOCK_COLUMNS, Epilogue, PackLayout, ROW_STRIDE};
pub use matrix::{Matrix, gemm};
pub(in crate::ops) use output::{Output, RowOffsets, written};
pub(in crate::ops) use prepared::{LeftRows, PanelShape, Panels};
pub(in crate::ops) use product::Product;
pub(in crate::ops) use source::{LeftSource, Packed, Right, RightSource, TileLayout};
