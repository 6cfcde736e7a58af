//! The GPUs of this machine, and how to open one.

use std::collections::BTreeMap;
use std::sync::Mutex;

use candle_core::cuda_backend::cudarc::driver::sys::CUdevice_attribute as Attribute;
use candle_core::cuda_backend::cudarc::{cublas, cudnn, driver};
use candle_core::{CudaDevice, Device};

use super::engine::locked;
use super::require_libraries;
use crate::capability::Capability;
use crate::error::{Error, Result};

/// One GPU as the driver describes it.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// The ordinal, as in `cuda:0`.
    pub ordinal: usize,
    pub name: String,
    pub capability: Capability,
    /// The number of multiprocessors.
    pub multiprocessors: i32,
    pub total_bytes: u64,
    pub free_bytes: u64,
}

/// The versions of the libraries that affect results.
#[derive(Clone, Debug, PartialEq)]
pub struct Versions {
    /// The highest CUDA version that the driver supports: `13.0`.
    pub driver: String,
    pub cudnn: String,
    pub cublas: String,
}

/// The GPUs that the driver reports, in its order.
///
/// # Errors
/// A library does not open, or the driver does not answer.
pub fn gpus() -> Result<Vec<Gpu>> {
    let gpu = |ordinal| {
        let context = driver::CudaContext::new(ordinal).map_err(driver_error)?;
        described(ordinal, &context)
    };
    (0..count()?).map(gpu).collect()
}

fn count() -> Result<usize> {
    require_libraries()?;
    driver::result::init().map_err(driver_error)?;
    let count = driver::CudaContext::device_count().map_err(driver_error)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

fn described(ordinal: usize, context: &driver::CudaContext) -> Result<Gpu> {
    let describe = || {
        let (free, total) = context.mem_get_info()?;
        let (major, minor) = context.compute_capability()?;
        let name = context.name()?;
        let multiprocessors = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let (total_bytes, free_bytes) = (total as u64, free as u64);
        let capability = Capability::of_driver([major, minor]);
        Ok(Gpu { ordinal, name, capability, multiprocessors, total_bytes, free_bytes })
    };
    describe().map_err(driver_error)
}

/// The versions of the installed libraries.
///
/// # Errors
/// A library does not open.
pub fn versions() -> Result<Versions> {
    require_libraries()?;
    let mut cuda = 0;
    // SAFETY: the driver writes one number.
    unsafe { driver::sys::cuDriverGetVersion(&mut cuda) }.result().map_err(driver_error)?;
    // SAFETY: it reads a constant of the library.
    let cudnn = unsafe { cudnn::sys::cudnnGetVersion() };
    let part = |property| {
        let mut value = 0;
        // SAFETY: cuBLAS writes one number.
        unsafe { cublas::sys::cublasGetProperty(property, &mut value) }
            .result()
            .map_err(|error| Error::failed(format!("cannot read the version of cuBLAS: {error:?}")))?;
        Ok::<i32, Error>(value)
    };
    use cublas::sys::libraryPropertyType_t as Property;
    let parts = [Property::MAJOR_VERSION, Property::MINOR_VERSION, Property::PATCH_LEVEL].map(part);
    let [major, minor, patch] = parts;
    let major = major?;
    let versions = Versions {
        driver: format!("{}.{}", cuda / 1000, cuda % 1000 / 10),
        cudnn: format!("{}.{}.{}", cudnn / 10_000, cudnn / 100 % 100, cudnn % 100),
        cublas: format!("{major}.{}.{}", minor?, patch?),
    };
    // The binding tries `libcudnn.so` before `libcudnn.so.9`. An older version may be installed under the first
    // name.
    if (major, cudnn / 10_000) != (13, 9) {
        let Versions { cudnn, cublas, .. } = versions;
        let error = Error::usage(format!("the first libraries found are cuBLAS {cublas} and cuDNN {cudnn}"));
        return Err(error.hint("put cuBLAS 13 and cuDNN 9 first on LD_LIBRARY_PATH (docs/cuda.md)"));
    }
    Ok(versions)
}

/// The device `cuda:ordinal`. Every call returns the same device. No other GPU is initialised.
///
/// # Errors
/// No such GPU, a library that does not open, or a GPU that cannot be opened.
pub fn open(ordinal: usize) -> Result<(Device, Gpu)> {
    static OPENED: Mutex<BTreeMap<usize, CudaDevice>> = Mutex::new(BTreeMap::new());
    let count = count()?;
    if ordinal >= count {
        let error = Error::usage(format!("device `cuda:{ordinal}` does not exist"));
        return Err(error.hint(match count {
            0 => "the driver finds no GPU".to_owned(),
            1 => "the driver finds one GPU, `cuda:0`".to_owned(),
            count => format!("the driver finds {count} GPUs, `cuda:0` to `cuda:{}`", count - 1),
        }));
    }
    let mut opened = locked(&OPENED);
    let device = match opened.get(&ordinal) {
        Some(device) => device.clone(),
        None => {
            let refused = |error| Error::failed(format!("cannot use `cuda:{ordinal}`: {error}"));
            let device = CudaDevice::new_with_stream(ordinal).map_err(refused)?;
            opened.insert(ordinal, device.clone());
            device
        }
    };
    let gpu = described(ordinal, device.cuda_stream().context())?;
    Ok((Device::Cuda(device), gpu))
}

fn driver_error(error: driver::DriverError) -> Error {
    Error::failed(format!("NVIDIA's driver: {error}"))
}
