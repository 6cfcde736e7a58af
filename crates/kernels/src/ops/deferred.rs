//! Values that a device may still be computing.

use candle_core::{DType, Tensor};

use crate::error::Result;

/// Values for the host. On a CPU they are available at once. A GPU may still be computing them while the host
/// continues; only [`Deferred::wait`] blocks.
pub struct Deferred<T>(Box<dyn FnOnce() -> Result<Vec<T>>>);

impl<T: 'static> Deferred<T> {
    /// Available values.
    pub fn ready(numbers: Vec<T>) -> Self {
        Self(Box::new(|| Ok(numbers)))
    }

    /// Values that a GPU writes, copied to the host after the work launched so far.
    #[cfg(feature = "cuda")]
    pub fn from_readback(numbers: crate::cuda::Readback<T>) -> Self
    where
        T: Copy,
    {
        Self(Box::new(|| numbers.wait()))
    }

    /// Applies a function to each value after reading.
    pub fn map<U: 'static>(self, through: impl Fn(T) -> U + 'static) -> Deferred<U> {
        Deferred(Box::new(move || Ok(self.wait()?.into_iter().map(through).collect())))
    }

    /// Blocks until the device has written the values.
    ///
    /// # Errors
    /// The computation on the device failed.
    pub fn wait(self) -> Result<Vec<T>> {
        self.0()
    }
}

impl Deferred<f32> {
    /// The elements of a tensor, in order.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if tensor.device().is_cuda() {
            return Ok(Self::from_readback(crate::cuda::read_back(tensor)?));
        }
        Ok(Self::ready(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?))
    }
}

impl Deferred<f64> {
    /// The exact value of a scalar tensor.
    pub fn from_scalar(tensor: &Tensor) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if tensor.device().is_cuda() {
            return Ok(Deferred::<f32>::from_tensor(tensor)?.map(f64::from));
        }
        Ok(Self::ready(vec![tensor.to_dtype(DType::F64)?.to_scalar()?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{normal, numbers};

    #[test]
    fn what_is_here_is_read_as_it_is() {
        let tensor = normal("x", &[2, 3]).to_dtype(DType::F32).unwrap();
        let doubled = Deferred::from_tensor(&tensor).unwrap().map(|x| 2.0 * f64::from(x)).wait().unwrap();
        assert_eq!(doubled, numbers(&tensor).iter().map(|x| 2.0 * x).collect::<Vec<f64>>());
        let exact = normal("x", &[1]).reshape(()).unwrap();
        assert_eq!(Deferred::from_scalar(&exact).unwrap().wait().unwrap(), numbers(&exact));
    }
}
