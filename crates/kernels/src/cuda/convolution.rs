//! Convolutions through cuDNN: channels-last, with algorithms selected by a fixed rule.
//!
//! The rule selects one deterministic algorithm for each pass. It never depends on timings or free memory, so
//! the same convolution gives the same bits with the same library. Unsupported convolutions are computed by
//! other kernels.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use candle_core::DType;
use candle_core::cuda_backend::cudarc::cudnn::sys::{self, cudnnStatus_t};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream};

use super::engine::{Address, Engine, locked};
use super::memory;
use crate::error::{Error, Result};

/// The sizes of a convolution of [N, H, W, C] with weights [O, kH, kW, C / groups].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    pub images: usize,
    /// Height and width of the input, and of the output.
    pub input: [usize; 2],
    pub output: [usize; 2],
    /// Channels of the input, and of the output.
    pub channels: [usize; 2],
    pub groups: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Zero padding at the top, bottom, left and right.
    pub padding: [usize; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvolutionPass {
    /// Computes the output from input and weight.
    Forward,
    /// Computes the input's gradient from weight and output gradient.
    Input,
    /// Computes the weight's gradient from input and output gradient.
    Weight,
}

/// The cuDNN handle, the plans of the convolutions used so far, and the workspace memory.
pub struct Cudnn {
    plans: HashMap<(Convolution, DType, bool), ConvolutionPlan>,
    workspace: Option<CudaSlice<u8>>,
    /// Declared last, so that it is dropped after the objects created with it.
    handle: Handle,
}

// SAFETY: cuDNN handles may move between threads if only one thread uses them at a time. The engine's lock
// ensures this.
unsafe impl Send for Cudnn {}

struct ConvolutionPlan {
    input: Tensor,
    output: Tensor,
    weight: Filter,
    convolution: Correlation,
    /// The workspace bytes of each pass; `None` if cuDNN does not support the pass.
    workspace: [Option<usize>; 3],
}

/// A cuDNN descriptor. Dropping it destroys the descriptor, also after a later call fails.
macro_rules! descriptor {
    ($name:ident, $raw:ty, $create:ident, $destroy:ident) => {
        struct $name($raw);

        impl $name {
            fn new() -> Result<Self> {
                let mut raw = std::ptr::null_mut();
                // SAFETY: cuDNN writes the descriptor.
                check(unsafe { sys::$create(&mut raw) })?;
                Ok(Self(raw))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the matching create function made it, and there is no other reference.
                _ = unsafe { sys::$destroy(self.0) };
            }
        }
    };
}
descriptor!(Handle, sys::cudnnHandle_t, cudnnCreate, cudnnDestroy);
descriptor!(Tensor, sys::cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor);
descriptor!(Filter, sys::cudnnFilterDescriptor_t, cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor);
descriptor!(
    Correlation,
    sys::cudnnConvolutionDescriptor_t,
    cudnnCreateConvolutionDescriptor,
    cudnnDestroyConvolutionDescriptor
);

use sys::cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1 as INPUT;
use sys::cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1 as WEIGHT;
use sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM as FORWARD;

impl Cudnn {
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let handle = Handle::new()?;
        // SAFETY: the engine owns both the stream and this handle.
        check(unsafe { sys::cudnnSetStream(handle.0, stream.cu_stream().cast()) })?;
        Ok(Self { handle, plans: HashMap::new(), workspace: None })
    }
}

impl ConvolutionPlan {
    fn new(handle: sys::cudnnHandle_t, sizes: &Convolution, dtype: DType, tf32: bool) -> Result<Self> {
        use sys::cudnnDataType_t as Numbers;
        use sys::cudnnMathType_t as Math;
        let (numbers, math) = match (dtype, tf32) {
            (DType::F32, false) => (Numbers::CUDNN_DATA_FLOAT, Math::CUDNN_FMA_MATH),
            (DType::F32, true) => (Numbers::CUDNN_DATA_FLOAT, Math::CUDNN_DEFAULT_MATH),
            (DType::BF16, _) => (Numbers::CUDNN_DATA_BFLOAT16, Math::CUDNN_TENSOR_OP_MATH),
            (DType::F16, _) => (Numbers::CUDNN_DATA_HALF, Math::CUDNN_TENSOR_OP_MATH),
            (other, _) => return Err(Error::bug(format!("no convolution of {other:?}"))),
        };
        let layout = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let size = |size: usize| {
            i32::try_from(size).map_err(|_| Error::failed(format!("a convolution over {size} is too large")))
        };
        let images = size(sizes.images)?;
        let tensor = |channels: usize, [height, width]: [usize; 2]| -> Result<_> {
            let descriptor = Tensor::new()?;
            let (channels, height, width) = (size(channels)?, size(height)?, size(width)?);
            // SAFETY: cuDNN fills a descriptor that it created.
            check(unsafe {
                sys::cudnnSetTensor4dDescriptor(
                    descriptor.0,
                    layout,
                    numbers,
                    images,
                    channels,
                    height,
                    width,
                )
            })?;
            Ok(descriptor)
        };
        let [inputs, outputs] = sizes.channels;
        let (input, output) = (tensor(inputs, sizes.input)?, tensor(outputs, sizes.output)?);
        let (weight, convolution) = (Filter::new()?, Correlation::new()?);
        let [height, width] = [size(sizes.kernel[0])?, size(sizes.kernel[1])?];
        let [padding, stride] = [sizes.padding, sizes.stride];
        // SAFETY: as above.
        unsafe {
            let (outputs, each) = (size(outputs)?, size(inputs / sizes.groups)?);
            check(sys::cudnnSetFilter4dDescriptor(weight.0, numbers, layout, outputs, each, height, width))?;
            check(sys::cudnnSetConvolution2dDescriptor(
                convolution.0,
                size(padding[0])?,
                size(padding[1])?,
                size(stride[0])?,
                size(stride[1])?,
                1,
                1,
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                Numbers::CUDNN_DATA_FLOAT,
            ))?;
            check(sys::cudnnSetConvolutionGroupCount(convolution.0, size(sizes.groups)?))?;
            check(sys::cudnnSetConvolutionMathType(convolution.0, math))?;
        }
        let mut plan = Self { input, output, weight, convolution, workspace: [None; 3] };
        let mut bytes = [0; 3];
        let [forward, towards_input, towards_weight] = &mut bytes;
        // SAFETY: cuDNN reads descriptors that are set, and writes a size.
        let supported = unsafe {
            [
                sys::cudnnGetConvolutionForwardWorkspaceSize(
                    handle,
                    plan.input.0,
                    plan.weight.0,
                    plan.convolution.0,
                    plan.output.0,
                    FORWARD,
                    forward,
                ),
                sys::cudnnGetConvolutionBackwardDataWorkspaceSize(
                    handle,
                    plan.weight.0,
                    plan.output.0,
                    plan.convolution.0,
                    plan.input.0,
                    INPUT,
                    towards_input,
                ),
                sys::cudnnGetConvolutionBackwardFilterWorkspaceSize(
                    handle,
                    plan.input.0,
                    plan.output.0,
                    plan.convolution.0,
                    plan.weight.0,
                    WEIGHT,
                    towards_weight,
                ),
            ]
        };
        for (pass, status) in supported.into_iter().enumerate() {
            plan.workspace[pass] = (status == cudnnStatus_t::CUDNN_STATUS_SUCCESS).then_some(bytes[pass]);
        }
        Ok(plan)
    }
}

impl Engine {
    /// Computes one pass with the operands `first` and `second`, in the order that [`ConvolutionPass`] describes. Returns
    /// whether cuDNN supports it.
    ///
    /// # Errors
    /// Sizes that exceed cuDNN's limits, or a failure of the library.
    pub fn convolve(
        &self,
        sizes: &Convolution,
        dtype: DType,
        pass: ConvolutionPass,
        [first, second, out]: [Address; 3],
    ) -> Result<bool> {
        let mut dnn = locked(&self.dnn);
        let dnn = &mut *dnn;
        let key = (*sizes, dtype, self.settings().tf32);
        if !dnn.plans.contains_key(&key) {
            let plan = ConvolutionPlan::new(dnn.handle.0, sizes, dtype, key.2)?;
            dnn.plans.insert(key, plan);
        }
        let (handle, plan) = (dnn.handle.0, &dnn.plans[&key]);
        let Some(bytes) = plan.workspace[pass as usize] else { return Ok(false) };
        if dnn.workspace.as_ref().is_none_or(|workspace| workspace.len() < bytes) {
            dnn.workspace = None;
            dnn.workspace = Some(self.buffer::<u8>(bytes)?);
        }
        let workspace =
            dnn.workspace.as_ref().map_or(0, |workspace| self.address(workspace).at) as *mut c_void;
        let (one, zero) = (1f32, 0f32);
        let (one, zero) = (std::ptr::from_ref(&one).cast(), std::ptr::from_ref(&zero).cast());
        let [first, second] = [first, second].map(|address| address.at as *const c_void);
        let out = out.at as *mut c_void;
        let (input, output, weight, convolution) =
            (plan.input.0, plan.output.0, plan.weight.0, plan.convolution.0);
        // SAFETY: the caller in `ops` passes addresses of tensors with the sizes of these descriptors.
        let status = unsafe {
            match pass {
                ConvolutionPass::Forward => sys::cudnnConvolutionForward(
                    handle,
                    one,
                    input,
                    first,
                    weight,
                    second,
                    convolution,
                    FORWARD,
                    workspace,
                    bytes,
                    zero,
                    output,
                    out,
                ),
                ConvolutionPass::Input => sys::cudnnConvolutionBackwardData(
                    handle,
                    one,
                    weight,
                    first,
                    output,
                    second,
                    convolution,
                    INPUT,
                    workspace,
                    bytes,
                    zero,
                    input,
                    out,
                ),
                ConvolutionPass::Weight => sys::cudnnConvolutionBackwardFilter(
                    handle,
                    one,
                    input,
                    first,
                    output,
                    second,
                    convolution,
                    WEIGHT,
                    workspace,
                    bytes,
                    zero,
                    weight,
                    out,
                ),
            }
        };
        match status {
            cudnnStatus_t::CUDNN_STATUS_SUCCESS => Ok(true),
            // Some versions report an unsupported pass only here.
            status if format!("{status:?}").contains("NOT_SUPPORTED") => {
                if let Some(plan) = dnn.plans.get_mut(&key) {
                    plan.workspace[pass as usize] = None;
                }
                Ok(false)
            }
            status => {
                check(status)
                    .map_err(|error| error.within(format!("a convolution ({pass:?}) of {sizes:?}")))?;
                Ok(true)
            }
        }
    }
}

fn check(status: cudnnStatus_t) -> Result<()> {
    match status {
        cudnnStatus_t::CUDNN_STATUS_SUCCESS => Ok(()),
        status if format!("{status:?}").contains("ALLOC") => {
            Err(memory::out_of_memory(format!("cuDNN: {status:?}")))
        }
        status => Err(Error::failed(format!("cuDNN: {status:?}"))),
    }
}
