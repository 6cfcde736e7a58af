//! A GPU in use: its stream, kernels and memory.
//!
//! All computation runs on one stream. A later launch therefore sees the results of an earlier one, and freed
//! memory is not reused before the kernels that read it have finished.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{
    self, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DeviceRepr, sys,
};
use candle_core::cuda_backend::{CudaDType, CudaStorage, DeviceId};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, DType, Device, Shape, Storage, Tensor};

use super::blas::Cublas;
use super::convolution::Cudnn;
use super::launch::Arguments;
use super::memory;
use super::readback::PinnedBuffer;
use super::signatures::{Pointee, Signature, compare, signature};
use super::upload::Upload;
use crate::capability::Capability;
use crate::error::{Error, Result};

/// All kernels, compiled by build.rs; empty if no compiler was available.
const KERNELS: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// The capability that the kernels are compiled for: they run on it and on later ones. `None` if there are no kernels.
pub fn kernel_capability() -> Option<Capability> {
    let built = Capability::parse(env!("KERNEL_CAPABILITY"));
    if KERNELS.is_empty() { None } else { built }
}

/// A device address with the type of the data there.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    pub(super) at: sys::CUdeviceptr,
    /// The pointer type as kernels declare it.
    pub(super) to: &'static str,
}

impl Address {
    /// The null address, for absent tensors.
    pub const NONE: Self = Self { at: 0, to: "nothing" };

    pub fn plus(self, bytes: usize) -> Self {
        Self { at: self.at + bytes as sys::CUdeviceptr, ..self }
    }
}

/// The state that operations compute with: one per device, found through any tensor of the device.
pub struct Engine {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
    functions: Mutex<HashMap<String, (CudaFunction, &'static Signature)>>,
    matmul_settings: Mutex<MatmulSettings>,
    pub(super) blas: Cublas,
    pub(super) dnn: Mutex<Cudnn>,
    upload: Mutex<Upload>,
    /// Free pinned host memory for readbacks.
    pub(super) landings: Mutex<Vec<PinnedBuffer>>,
}

/// How f32 matrix products are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatmulSettings {
    /// Rounds operands to 10 bits of mantissa (TF32), for tensor cores since Ampere.
    pub tf32: bool,
}

type Engines = Mutex<HashMap<DeviceId, Arc<Engine>>>;

fn engines() -> MutexGuard<'static, HashMap<DeviceId, Arc<Engine>>> {
    static ENGINES: OnceLock<Engines> = OnceLock::new();
    locked(ENGINES.get_or_init(Engines::default))
}

/// A panic in another thread leaves no partial change under these locks.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// The engine of a tensor's device, made current for this thread.
    pub fn of(tensor: &Tensor) -> Result<Arc<Self>> {
        Self::on(tensor.device())
    }

    pub fn on(device: &Device) -> Result<Arc<Self>> {
        let Device::Cuda(device) = device else {
            return Err(Error::bug("a CUDA kernel was given a tensor of another device"));
        };
        let engine = engines().get(&device.id()).cloned();
        let engine = match engine {
            Some(engine) => engine,
            None => {
                let engine = Arc::new(Self::new(device)?);
                engines().insert(device.id(), engine.clone());
                engine
            }
        };
        engine.stream.context().bind_to_thread().map_err(failed)?;
        Ok(engine)
    }

    fn new(device: &CudaDevice) -> Result<Self> {
        if KERNELS.is_empty() && !driver_is_emulated(device) {
            return Err(Error::usage("this build has no kernels: it was made without nvcc")
                .hint("build with `cuda/cargo build --release` (docs/cuda.md)"));
        }
        let stream = device.cuda_stream();
        let context = stream.context();
        context.bind_to_thread().map_err(failed)?;
        memory::retain_pool(context)?;
        // SAFETY: all computation uses one stream; `Upload` synchronises its own stream with events.
        unsafe { device.disable_event_tracking() };
        let module = context.load_module(KERNELS.into()).map_err(failed)?;
        Ok(Self {
            blas: Cublas::new(device)?,
            dnn: Mutex::new(Cudnn::new(&stream)?),
            upload: Mutex::new(Upload::new(context)?),
            functions: Mutex::default(),
            landings: Mutex::default(),
            matmul_settings: Mutex::default(),
            device: device.clone(),
            stream,
            module,
        })
    }

    pub fn settings(&self) -> MatmulSettings {
        *locked(&self.matmul_settings)
    }

    /// Applies to all products from now on.
    pub fn set_matmul(&self, settings: MatmulSettings) {
        *locked(&self.matmul_settings) = settings;
    }

    /// The name and the compute capability of the GPU.
    pub fn gpu(&self) -> Result<(String, Capability)> {
        let context = self.stream.context();
        let (major, minor) = context.compute_capability().map_err(failed)?;
        Ok((context.name().map_err(failed)?, Capability::of_driver([major, minor])))
    }

    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Free and total bytes.
    pub fn memory(&self) -> Result<(usize, usize)> {
        self.stream.context().mem_get_info().map_err(failed)
    }

    /// Blocks until all launched work is done.
    pub fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().map_err(failed)
    }

    /// Uninitialised memory for data that is not a tensor of a model.
    pub fn buffer<T: DeviceRepr>(&self, length: usize) -> Result<CudaSlice<T>> {
        // SAFETY: kernels write the memory before they read it.
        let take = || unsafe { self.stream.alloc::<T>(length.max(1)) };
        let taken = match take() {
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                self.trim_pool()?;
                take()
            }
            taken => taken,
        };
        taken.map_err(failed)
    }

    /// Copies host data to the device.
    pub fn copy_to_device<T: DeviceRepr>(&self, numbers: &[T]) -> Result<CudaSlice<T>> {
        self.stream.clone_htod(numbers).map_err(failed)
    }

    /// A tensor with uninitialised content, and its address.
    pub fn tensor(&self, dtype: DType, shape: impl Into<Shape>) -> Result<(Tensor, Address)> {
        match dtype {
            DType::F32 => self.uninitialised::<f32>(shape.into()),
            DType::BF16 => self.uninitialised::<half::bf16>(shape.into()),
            DType::F16 => self.uninitialised::<half::f16>(shape.into()),
            other => Err(Error::bug(format!("no kernel writes {other:?}"))),
        }
    }

    fn uninitialised<T: DeviceRepr + CudaDType + Pointee>(&self, shape: Shape) -> Result<(Tensor, Address)> {
        let slice = self.buffer::<T>(shape.elem_count())?;
        let address = self.address(&slice);
        let storage = CudaStorage::wrap_cuda_slice(slice, self.device.clone());
        Ok((Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false), address))
    }

    pub fn address<T: Pointee>(&self, slice: &CudaSlice<T>) -> Address {
        Address { at: slice.device_ptr(&self.stream).0, to: T::POINTER }
    }

    /// Copies a host tensor to this device while kernels run.
    pub fn upload(&self, tensor: &Tensor) -> Result<Tensor> {
        locked(&self.upload).tensor(self, tensor)
    }

    /// Launches one of the kernels.
    pub(super) fn launch(
        &self,
        kernel: &str,
        grid: [usize; 3],
        block: [u32; 2],
        mut arguments: Arguments,
    ) -> Result<()> {
        let mut functions = locked(&self.functions);
        if !functions.contains_key(kernel) {
            let signature = signature(kernel)?;
            let function = self.module.load_function(kernel).map_err(failed)?;
            functions.insert(kernel.to_owned(), (function, signature));
        }
        let (function, signature) = &functions[kernel];
        compare(kernel, signature, arguments.types())?;
        let grid = grid.map(|blocks| u32::try_from(blocks).unwrap_or(u32::MAX));
        // SAFETY: the argument types were compared with the kernel's signature above. Callers pass memory of the
        // sizes that the counts describe, and it outlives the work launched on this stream.
        unsafe {
            driver::result::launch_kernel(
                function.cu_function(),
                (grid[0], grid[1], grid[2]),
                (block[0], block[1], 1),
                0,
                self.stream.cu_stream(),
                &mut arguments.addresses(),
            )
        }
        .map_err(|error| failed(error).within(format_args!("kernel `{kernel}`")))
    }
}

/// The address of a contiguous tensor's data, valid while the tensor exists.
///
/// # Errors
/// A tensor of another device, or a tensor that is not contiguous.
pub fn address(tensor: &Tensor) -> Result<Address> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, _)) = layout.contiguous_offsets() else {
        let shape = tensor.shape();
        return Err(Error::bug(format!("a tensor of shape {shape:?} is not contiguous")));
    };
    let Storage::Cuda(storage) = &*storage else {
        return Err(Error::bug("a CUDA kernel was given a tensor of another device"));
    };
    let stream = storage.device.cuda_stream();
    let (first, to) = match tensor.dtype() {
        DType::F32 => (storage.as_cuda_slice::<f32>()?.device_ptr(&stream).0, f32::POINTER),
        DType::BF16 => (storage.as_cuda_slice::<half::bf16>()?.device_ptr(&stream).0, half::bf16::POINTER),
        DType::F16 => (storage.as_cuda_slice::<half::f16>()?.device_ptr(&stream).0, half::f16::POINTER),
        DType::U32 => (storage.as_cuda_slice::<u32>()?.device_ptr(&stream).0, u32::POINTER),
        other => return Err(Error::bug(format!("no kernel reads {other:?}"))),
    };
    Ok(Address { at: first, to }.plus(start * tensor.dtype().size_in_bytes()))
}

/// [`address`] of an optional tensor.
pub fn optional(tensor: Option<&Tensor>) -> Result<Address> {
    tensor.map_or(Ok(Address::NONE), address)
}

/// Whether this is the test driver, which runs its own kernels on the CPU.
fn driver_is_emulated(device: &CudaDevice) -> bool {
    device.cuda_stream().context().name().is_ok_and(|name| name.contains("emulated"))
}

pub(super) fn failed(error: driver::DriverError) -> Error {
    match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => memory::out_of_memory(error),
        _ => Error::failed(format!("NVIDIA's driver: {error}")).caused_by(error),
    }
}
