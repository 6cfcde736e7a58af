//! The memory of a batch. Several threads write it at once, each at its own slots.

use std::cell::UnsafeCell;

/// Memory for the values of several samples.
#[derive(Default)]
pub struct BatchBuffer {
    /// One cell per value, so that threads can write different slots at the same time.
    numbers: Box<[UnsafeCell<f32>]>,
    /// Values per sample.
    length: usize,
}

// SAFETY: the only access through a shared reference is `slot_mut`, whose caller guarantees that slots are distinct.
unsafe impl Sync for BatchBuffer {}

impl BatchBuffer {
    pub fn new(samples: usize, length: usize) -> Self {
        let numbers: Box<[f32]> = vec![0.0; samples * length].into();
        // SAFETY: a cell has the layout of its content.
        let numbers = unsafe { Box::from_raw(Box::into_raw(numbers) as *mut [UnsafeCell<f32>]) };
        Self { numbers, length }
    }

    /// The values of a sample.
    ///
    /// # Safety
    /// Each slot may be requested at most once.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slot_mut(&self, place: usize) -> &mut [f32] {
        let cells = &self.numbers[place * self.length..][..self.length];
        // SAFETY: only this caller has these cells.
        unsafe { std::slice::from_raw_parts_mut(UnsafeCell::raw_get(cells.as_ptr()), cells.len()) }
    }

    /// The values of the samples at `places`, in order, without the slots between them.
    pub fn into_samples(self, places: &[usize]) -> Vec<f32> {
        // SAFETY: a cell has the layout of its content, and the buffer is owned here.
        let numbers = unsafe { Box::from_raw(Box::into_raw(self.numbers) as *mut [f32]) };
        let mut numbers = numbers.into_vec();
        for (to, &from) in places.iter().enumerate() {
            if to != from {
                numbers.copy_within(from * self.length..(from + 1) * self.length, to * self.length);
            }
        }
        numbers.truncate(places.len() * self.length);
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_write_places_of_their_own_and_those_kept_move_together() {
        let buffer = BatchBuffer::new(5, 3);
        std::thread::scope(|scope| {
            for place in [4, 0, 2, 1] {
                let buffer = &buffer;
                // SAFETY: each slot is requested once.
                scope.spawn(move || unsafe { buffer.slot_mut(place) }.fill(place as f32));
            }
        });
        assert_eq!(buffer.into_samples(&[0, 2, 4]), [0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0]);
        assert!(
            BatchBuffer::new(2, 0).into_samples(&[0, 1]).is_empty()
                && BatchBuffer::default().into_samples(&[]).is_empty()
        );
    }
}
