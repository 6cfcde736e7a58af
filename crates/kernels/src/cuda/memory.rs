//! GPU memory: the driver's memory pool, usage counts, and out-of-memory errors.

use candle_core::cuda_backend::cudarc::driver::sys::{self, CUmemPool_attribute as Attribute};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError};

use super::engine::{Engine, failed};
use crate::error::{Error, Result};

/// The error for a failed allocation, as the driver or a library reports it.
pub(super) fn out_of_memory(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::out_of_memory("the GPU is out of memory")
        .hint("use a smaller `batch_size` or `image_size`")
        .caused_by(cause)
}

/// Makes the driver keep freed memory, since every training step needs the same memory again.
pub(super) fn retain_pool(context: &CudaContext) -> Result<()> {
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut everything = u64::MAX;
    let pool = pool(context).map_err(failed)?;
    let value = std::ptr::from_mut(&mut everything).cast();
    // SAFETY: the driver reads one number of the attribute's type.
    unsafe { sys::cuMemPoolSetAttribute(pool, Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, value) }
        .result()
        .map_err(failed)
}

fn pool(context: &CudaContext) -> std::result::Result<sys::CUmemoryPool, DriverError> {
    let mut pool = std::ptr::null_mut();
    // SAFETY: the driver writes the pool's handle.
    unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device()) }.result()?;
    Ok(pool)
}

impl Engine {
    /// Merges all freed memory. Memory that unfinished kernels freed counts as used until the host has
    /// synchronised, and the pool does not merge blocks of several sizes by itself (`cuMemPoolTrimTo` in the
    /// driver's manual).
    pub(super) fn trim_pool(&self) -> Result<()> {
        self.synchronize()?;
        let context = self.stream().context();
        if context.has_async_alloc() {
            let pool = pool(context).map_err(failed)?;
            // SAFETY: the driver releases only unused memory.
            unsafe { sys::cuMemPoolTrimTo(pool, 0) }.result().map_err(failed)?;
        }
        Ok(())
    }

    /// The bytes in use. Resets the peak. `None` if the driver has no count.
    pub fn reset_peak_memory(&self) -> Option<u64> {
        self.synchronize().ok()?;
        let mut anew = 0u64;
        let value = std::ptr::from_mut(&mut anew).cast();
        let pool = pool(self.stream().context()).ok()?;
        // SAFETY: the driver reads one number of the attribute's type; 0 is the only value that it accepts.
        unsafe { sys::cuMemPoolSetAttribute(pool, Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, value) }
            .result()
            .ok()?;
        self.pool_attribute(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
    }

    /// The peak of bytes in use since [`Engine::reset_peak_memory`], or since the start.
    pub fn peak_memory(&self) -> Option<u64> {
        self.pool_attribute(Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
    }

    /// The bytes that this process holds or can still allocate.
    pub fn available_memory(&self) -> Result<u64> {
        let (free, _) = self.memory()?;
        let kept = self.pool_attribute(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
        Ok(free as u64 + kept.unwrap_or(0))
    }

    fn pool_attribute(&self, attribute: Attribute) -> Option<u64> {
        let mut bytes = 0u64;
        let pool = pool(self.stream().context()).ok()?;
        // SAFETY: the driver writes one number of the attribute's type.
        unsafe { sys::cuMemPoolGetAttribute(pool, attribute, std::ptr::from_mut(&mut bytes).cast()) }
            .result()
            .ok()?;
        Some(bytes)
    }
}
