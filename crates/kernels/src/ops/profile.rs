//! The numeric profile: which instruction set the kernels are compiled for, found once when first asked.
//!
//! All blocking is a constant of the profile. Nothing is taken from cache sizes or core counts, so that a profile's
//! results are the same on every machine that has it.

use std::fmt;
use std::sync::OnceLock;

use crate::error::{Error, Result};

static CURRENT: OnceLock<Profile> = OnceLock::new();

/// The instruction set that kernels run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// AVX-512, as x86-64-v4.
    X86V4,
    /// AVX2 with fused multiply-add, as x86-64-v3.
    X86V3,
    /// What the target is guaranteed to have.
    Scalar,
}

impl Profile {
    /// The profile of this process: the best of this machine, unless another was chosen.
    pub fn current() -> Self {
        *CURRENT.get_or_init(|| {
            [Self::X86V4, Self::X86V3].into_iter().find(|p| p.is_supported()).unwrap_or(Self::Scalar)
        })
    }

    /// Has this process compute as a lesser machine would, to the bit. To be called before anything is computed.
    ///
    /// # Errors
    /// The machine lacks the profile, or the process has another already.
    pub fn choose(self) -> Result<()> {
        if self.is_supported() && *CURRENT.get_or_init(|| self) == self {
            return Ok(());
        }
        Err(Error::failed(format!("this process cannot compute under the profile `{self}`")))
    }

    /// All profiles that this machine can run, the best first.
    pub fn supported() -> impl Iterator<Item = Self> {
        [Self::X86V4, Self::X86V3, Self::Scalar].into_iter().filter(|profile| profile.is_supported())
    }

    /// The name that variants of results carry: `x86-v4`, `x86-v3` or `scalar`.
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

    /// Runs `work` compiled for this profile's instruction set, so that plain loops vectorise to its width.
    ///
    /// `work` must be an `#[inline(always)]` closure calling only `#[inline(always)]` functions: what is not inlined
    /// keeps the target's baseline, and calls a function for each instruction that this lacks.
    ///
    /// # Panics
    /// The machine lacks the profile, which [`Profile::current`] and [`Profile::supported`] never give.
    #[inline(always)]
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        assert!(self.is_supported(), "this machine cannot compute under `{self}`");
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the machine has the features, as was just seen (cached loads).
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
