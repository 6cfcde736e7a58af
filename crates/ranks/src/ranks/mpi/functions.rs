//! The few functions of MPI that are needed.

use std::ffi::{c_char, c_int, c_void};

use libloading::os::unix::Library;

use crate::error::{Error, Result};

/// Declares the functions that are used, and looks them up by name.
macro_rules! functions {
    ($($field:ident = $name:literal: ($($argument:ty),*)),* $(,)?) => {
        /// The functions of a library whose handles are of type `H`.
        pub struct Functions<H> {
            $(pub $field: unsafe extern "C" fn($($argument),*) -> c_int),*
        }

        impl<H> Functions<H> {
            pub fn of(library: &Library) -> Result<Self> {
                let lacks = |name: &str| Error::failed(format!("the library has no `{name}`, so it is no MPI library"));
                $(
                    // SAFETY: the MPI standard gives the function this signature; H is the type of handles in the
                    // interface that the library has.
                    let $field = unsafe { library.get(concat!($name, "\0").as_bytes()) };
                    let $field = *$field.map_err(|_| lacks($name))?;
                )*
                Ok(Self { $($field),* })
            }
        }
    };
}

functions! {
    init_thread = "MPI_Init_thread": (*mut c_int, *mut *mut *mut c_char, c_int, *mut c_int),
    finalize = "MPI_Finalize": (),
    rank = "MPI_Comm_rank": (H, *mut c_int),
    size = "MPI_Comm_size": (H, *mut c_int),
    set_errhandler = "MPI_Comm_set_errhandler": (H, H),
    error_string = "MPI_Error_string": (c_int, *mut c_char, *mut c_int),
    version = "MPI_Get_library_version": (*mut c_char, *mut c_int),
    gather = "MPI_Iallgatherv":
        (*const c_void, c_int, H, *mut c_void, *const c_int, *const c_int, H, H, *mut H),
    exchange = "MPI_Ialltoallv":
        (*const c_void, *const c_int, *const c_int, H, *mut c_void, *const c_int, *const c_int, H, H, *mut H),
    test = "MPI_Test": (*mut H, *mut c_int, *mut c_void),
}
