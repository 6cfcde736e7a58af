//! The numeric profile: the instruction set of the kernels, detected once.
//!
//! All blocking is constant per profile. Nothing depends on cache sizes or core counts, so a profile gives the
//! same results on every machine that supports it.

use std::fmt;
use std::sync::OnceLock;

use crate::error::{Error, Result};

static CURRENT: OnceLock<Profile> = OnceLock::new();

/// The instruction set of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// AVX-512, as x86-64-v4.
    X86V4,
    /// AVX2 with fused multiply-add, as x86-64-v3.
    X86V3,
    /// The instructions that the target guarantees.
    Scalar,
}

impl Profile {
    /// The profile of this process: the best that the machine supports, unless another was chosen.
    pub fn current() -> Self {
        *CURRENT.get_or_init(|| {
            [Self::X86V4, Self::X86V3].into_iter().find(|p| p.is_supported()).unwrap_or(Self::Scalar)
        })
    }

    /// Makes this process compute as a machine with fewer instructions, to the bit. Must be called before any
    /// computation.
    ///
    /// # Errors
    /// The machine does not support the profile, or the process already uses another.
    pub fn choose(self) -> Result<()> {
        if self.is_supported() && *CURRENT.get_or_init(|| self) == self {
            return Ok(());
        }
        Err(Error::failed(format!("this process cannot compute under the profile `{self}`")))
    }

    /// All supported profiles, the best first.
    pub fn supported() -> impl Iterator<Item = Self> {
        [Self::X86V4, Self::X86V3, Self::Scalar].into_iter().filter(|profile| profile.is_supported())
    }

    /// The name in the variants of results: `x86-v4`, `x86-v3` or `scalar`.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86V4 => "x86-v4",
            Self::X86V3 => "x86-v3",
            Self::Scalar => "scalar",
        }
    }

    fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::X86V4 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512cd")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && Self::X86V3.is_supported()
            }
            #[cfg(target_arch = "x86_64")]
            Self::X86V3 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::X86V4 | Self::X86V3 => false,
            Self::Scalar => true,
        }
    }

    /// Runs `work` compiled for this profile's instruction set, so that simple loops vectorise to its width.
    ///
    /// `work` must be an `#[inline(always)]` closure that calls only `#[inline(always)]` functions. Code that is
    /// not inlined is compiled for the baseline target, and calls a function for each missing instruction.
    ///
    /// # Panics
    /// The machine does not support the profile. [`Profile::current`] and [`Profile::supported`] never return
    /// such a profile.
    #[inline(always)]
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        assert!(self.is_supported(), "this machine cannot compute under `{self}`");
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the machine has the features, as checked above (cached loads).
            Self::X86V4 => unsafe { run_x86_v4(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: likewise.
            Self::X86V3 => unsafe { run_x86_v3(work) },
            _ => work(),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma")]
fn run_x86_v4<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_x86_v3<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fused_multiply_add_rounds_once_on_every_profile() {
        // 1 + ε squared minus 1: an unfused product would lose the ε².
        let x = 1.0 + f32::EPSILON;
        for profile in Profile::supported() {
            let mut out = [0f32; 33];
            profile.run(
                #[inline(always)]
                || out.iter_mut().for_each(|out| *out = x.mul_add(x, -1.0 - 2.0 * f32::EPSILON)),
            );
            assert_eq!(out, [f32::EPSILON * f32::EPSILON; 33], "{profile}");
        }
    }
}
