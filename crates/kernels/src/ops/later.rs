//! Numbers on their way from where they are computed.

use candle_core::{DType, Tensor};

use crate::error::Result;

/// Numbers for the host. On a CPU they are there; a GPU may still be computing them, and goes on while the host does other
/// things. Only [`Later::read`] waits.
pub struct Later<T>(Box<dyn FnOnce() -> Result<Vec<T>>>);

impl<T: 'static> Later<T> {
    /// Numbers that are there.
    pub fn here(numbers: Vec<T>) -> Self {
        Self(Box::new(|| Ok(numbers)))
    }

    /// Those that a GPU writes, copied to the host behind what was launched so far.
    #[cfg(feature = "cuda")]
    pub fn coming(numbers: crate::cuda::Readback<T>) -> Self
    where
        T: Copy,
    {
        Self(Box::new(|| numbers.wait()))
    }

    /// The same through a function, once they are read.
    pub fn map<U: 'static>(self, through: impl Fn(T) -> U + 'static) -> Later<U> {
        Later(Box::new(move || Ok(self.read()?.into_iter().map(through).collect())))
    }

    /// The numbers, waited for until they are there.
    ///
    /// # Errors
    /// What went wrong where they are computed.
    pub fn read(self) -> Result<Vec<T>> {
        self.0()
    }
}

impl Later<f32> {
    /// The numbers of a tensor, in its order.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if tensor.device().is_cuda() {
            return Ok(Self::coming(crate::cuda::read_back(tensor)?));
        }
        Ok(Self::here(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?))
    }
}

impl Later<f64> {
    /// The number that a scalar tensor holds, exactly.
    pub fn scalar(tensor: &Tensor) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if tensor.device().is_cuda() {
            return Ok(Later::<f32>::of(tensor)?.map(f64::from));
        }
        Ok(Self::here(vec![tensor.to_dtype(DType::F64)?.to_scalar()?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{normal, numbers};

    #[test]
    fn what_is_here_is_read_as_it_is() {
        let tensor = normal("x", &[2, 3]).to_dtype(DType::F32).unwrap();
        let doubled = Later::of(&tensor).unwrap().map(|x| 2.0 * f64::from(x)).read().unwrap();
        assert_eq!(doubled, numbers(&tensor).iter().map(|x| 2.0 * x).collect::<Vec<f64>>());
        let exact = normal("x", &[1]).reshape(()).unwrap();
        assert_eq!(Later::scalar(&exact).unwrap().read().unwrap(), numbers(&exact));
    }
}
