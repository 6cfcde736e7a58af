//! The compute capability of a GPU: its generation, and which builds it runs.

use std::fmt;

use crate::error::{Error, Result};

/// A compute capability, such as 8.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability {
    pub major: u32,
    pub minor: u32,
}

/// The first of each generation that NVIDIA has named, ascending.
const GENERATIONS: [(Capability, &str); 9] = [
    (Capability::new(5, 0), "Maxwell"),
    (Capability::new(6, 0), "Pascal"),
    (Capability::new(7, 0), "Volta"),
    (Capability::new(7, 5), "Turing"),
    (Capability::new(8, 0), "Ampere"),
    (Capability::new(8, 9), "Ada Lovelace"),
    (Capability::new(9, 0), "Hopper"),
    (Capability::new(10, 0), "Blackwell"),
    (Capability::new(13, 0), "newer than Blackwell"),
];

impl Capability {
    /// The oldest that CUDA 13 supports: its compiler and its libraries know no earlier one.
    pub const OLDEST: Self = Self::new(7, 5);
    /// The oldest with bfloat16 and TF32.
    pub const AMPERE: Self = Self::new(8, 0);

    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// As the driver reports it.
    pub fn of_driver([major, minor]: [i32; 2]) -> Self {
        Self::new(major.unsigned_abs(), minor.unsigned_abs())
    }

    /// As in `CUDA_COMPUTE_CAP=80`: the last digit is the minor number.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
        let number: u32 = digits.parse().ok()?;
        Some(Self::new(number / 10, number % 10))
    }

    /// The name of its generation.
    pub fn generation(self) -> &'static str {
        let known = GENERATIONS.iter().rev().find(|(first, _)| *first <= self);
        known.map_or("older than Maxwell", |(_, name)| name)
    }

    /// Refuses the GPU `name` if it is older than CUDA supports, or than the kernels of this build. Kernels are for this
    /// capability and later ones; `None` if there are none.
    ///
    /// # Errors
    /// As described.
    pub fn require_for_build(self, name: &str, kernels: Option<Self>) -> Result<()> {
        let who = format!("`{name}` ({}) has compute capability {self}", self.generation());
        let oldest = Self::OLDEST;
        if self < oldest {
            return Err(Error::usage(format!("{who}, and CUDA 13 supports {oldest} and later")).hint(
                "set `device = \"cpu\"`, or use a GPU of Turing or a later generation (docs/cuda.md)",
            ));
        }
        match kernels {
            Some(kernels) if self < kernels => {
                let Self { major, minor } = self;
                let cure = format!("CUDA_COMPUTE_CAP={major}{minor} cuda/cargo build --release");
                Err(Error::usage(format!("{who}, and the kernels of this build are for {kernels} and later"))
                    .hint(format!("build with `{cure}` (docs/cuda.md), or set `device = \"cpu\"`")))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLTA: Capability = Capability::new(7, 0);
    const TURING: Capability = Capability::new(7, 5);

    #[test]
    fn generations_are_found_by_capability() {
        let names = [(7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 3), (12, 0)]
            .map(|(major, minor)| Capability::new(major, minor).generation());
        let expected =
            ["Volta", "Turing", "Ampere", "Ampere", "Ada Lovelace", "Hopper", "Blackwell", "Blackwell"];
        assert_eq!(names, expected);
        assert_eq!(Capability::new(3, 5).generation(), "older than Maxwell");
        let parsed = ["75", "80", "90a", "120", ""].map(Capability::parse);
        let of = |major, minor| Some(Capability::new(major, minor));
        assert_eq!(parsed, [of(7, 5), of(8, 0), of(9, 0), of(12, 0), None]);
    }

    #[test]
    fn an_older_gpu_than_the_kernels_is_refused_with_the_cure() {
        let ampere = Some(Capability::AMPERE);
        let refused = |capability: Capability| {
            let error = capability.require_for_build("Tesla", ampere).unwrap_err();
            (error.message, error.hint.unwrap())
        };
        let (message, hint) = refused(TURING);
        assert_eq!(
            message,
            "`Tesla` (Turing) has compute capability 7.5, and the kernels of this build are for 8.0 and later"
        );
        assert!(hint.contains("CUDA_COMPUTE_CAP=75 cuda/cargo build --release"), "{hint}");
        let (message, hint) = refused(VOLTA);
        assert!(message.ends_with("CUDA 13 supports 7.5 and later") && hint.contains("cpu"), "{message}");
        assert!(TURING.require_for_build("Tesla", None).is_ok());
        assert!(Capability::new(9, 0).require_for_build("H200", ampere).is_ok());
    }
}
