//! The mean of several models' weights: uniform soups (Wortsman et al., *Model soups*, ICML 2022, §2) and, over epochs of
//! one run, stochastic weight averaging (Izmailov et al., UAI 2018).

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};
use crate::model::StateDict;

/// The mean of each tensor, computed in f64 in the order of `states` and rounded once. Tensors that are equal in all states
/// keep their bits, frozen ones too. Counts of batches are those of the first.
///
/// # Errors
/// There is no state, or the states are of different models.
pub fn average(states: &[StateDict]) -> Result<StateDict> {
    let Some((first, others)) = states.split_first() else {
        return Err(Error::bug("an average of no weights"));
    };
    if others.iter().any(|state| state.tensors.len() != first.tensors.len()) {
        return Err(Error::bug("an average of different models"));
    }
    let tensor = |(place, tensor): (usize, &Tensor)| {
        if tensor.dtype() != DType::F32 {
            return Ok(tensor.clone());
        }
        let mut sums = vec![0.0; tensor.elem_count()];
        for state in states {
            let values = state.tensors[place].flatten_all()?.to_vec1::<f32>()?;
            if values.len() != sums.len() {
                return Err(Error::bug("an average of tensors of different shapes"));
            }
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(value));
        }
        let means: Vec<f32> = sums.iter().map(|sum| (sum / states.len() as f64) as f32).collect();
        Ok(Tensor::from_vec(means, tensor.shape(), tensor.device())?)
    };
    Ok(StateDict { tensors: first.tensors.iter().enumerate().map(tensor).collect::<Result<_>>()? })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn state(values: &[f32], count: i64) -> StateDict {
        let tensors =
            vec![Tensor::new(values, &Device::Cpu).unwrap(), Tensor::new(&[count], &Device::Cpu).unwrap()];
        StateDict { tensors }
    }

    #[test]
    fn equal_values_keep_their_bits_and_others_are_rounded_once() {
        let odd = f32::from_bits(0x3eaa_aaab);
        let states = [state(&[odd, 1.0, 0.1], 3), state(&[odd, 2.0, 0.2], 4), state(&[odd, 6.0, 0.4], 5)];
        let mean = average(&states).unwrap();
        let values = mean.tensors[0].to_vec1::<f32>().unwrap();
        let exact = ((f64::from(0.1f32) + f64::from(0.2f32) + f64::from(0.4f32)) / 3.0) as f32;
        assert_eq!(values, [odd, 3.0, exact]);
        assert_eq!(mean.tensors[1].to_vec1::<i64>().unwrap(), [3]);
    }

    #[test]
    fn different_models_are_refused() {
        assert!(average(&[]).is_err());
        assert!(average(&[state(&[1.0], 0), state(&[1.0, 2.0], 0)]).is_err());
    }
}
