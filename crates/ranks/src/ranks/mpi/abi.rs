//! The three binary interfaces of MPI.
//!
//! The only unsafe code between ranks. Functions have the same names and the same order of arguments everywhere.
//! Handles differ: C ints in MPICH and its kin, addresses in Open MPI, small numbers as addresses in the standard
//! interface of MPI 5.

use std::error::Error as _;
use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::ptr;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use super::buffers::{allocated, ints, offsets, text, total};
use super::functions::Functions;
use crate::error::{Error, Result};

/// A binary interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    OpenMpi,
    Mpich,
    Standard,
}

/// What is done between two looks at an operation in progress: perhaps sleeping. An error abandons the operation.
pub type Wait<'a> = &'a mut dyn FnMut() -> Result<()>;

/// MPI's functions, whichever interface the library has. Only the thread that called [`Calls::start`] uses them.
pub trait Calls {
    fn abi(&self) -> Abi;

    /// The name and version of the library.
    fn version(&self) -> String;

    /// Connects to the other processes. Returns the rank and the number of ranks.
    fn start(&self) -> Result<(usize, usize)>;

    /// Ends the connection, which all ranks must do.
    fn finish(&self) -> Result<()>;

    /// Gives `own` to all ranks, and returns the bytes of all one after the other. `counts` are their lengths.
    fn gather(&self, own: Vec<u8>, counts: &[usize], wait: Wait) -> Result<Vec<u8>>;

    /// Gives parts of `own` to the ranks, and returns the parts for this rank one after the other.
    fn exchange(&self, own: Vec<u8>, give: &[usize], take: &[usize], wait: Wait) -> Result<Vec<u8>>;
}

/// Opens a library.
///
/// # Errors
/// It is not there, or is no MPI library.
pub fn open(path: &Path) -> Result<Box<dyn Calls>> {
    // SAFETY: the initialisers of an MPI library do nothing that this program depends on. Its plugins look for its
    // symbols among the global ones.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    let library = library.map_err(|error| {
        // The words of the system, which name the file that is missing.
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Error::failed(format!("cannot open `{}`: {cause}", path.display()))
    })?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(world) = address(&library, b"ompi_mpi_comm_world\0") {
        let handle = |name: &[u8]| {
            address(&library, name)
                .ok_or_else(|| Error::failed(format!("`{}` is incomplete", path.display())))
        };
        let handles = Handles {
            world,
            byte: handle(b"ompi_mpi_byte\0")?,
            errors_return: handle(b"ompi_mpi_errors_return\0")?,
            funneled: 1,
        };
        return Ok(Box::new(Opened::new(library, Abi::OpenMpi, handles, ptr::null_mut())?));
    }
    if name.starts_with("libmpi_abi") {
        let number = ptr::without_provenance_mut::<c_void>;
        // MPI 5.0, appendix A.
        let handles = Handles {
            world: number(0x101),
            byte: number(0x247),
            errors_return: number(0x143),
            funneled: 1024,
        };
        return Ok(Box::new(Opened::new(library, Abi::Standard, handles, ptr::null_mut())?));
    }
    let handles = Handles { world: 0x4400_0000, byte: 0x4c00_010d, errors_return: 0x5400_0001, funneled: 1 };
    Ok(Box::new(Opened::<c_int>::new(library, Abi::Mpich, handles, 0)?))
}

/// The address of a variable that a library exports.
fn address(library: &Library, name: &[u8]) -> Option<*mut c_void> {
    // SAFETY: the address is taken as a number, and is never read through.
    let symbol = unsafe { library.get::<*mut c_void>(name) };
    symbol.ok().map(|symbol| *symbol)
}

/// The predefined handles of an interface.
struct Handles<H> {
    world: H,
    byte: H,
    errors_return: H,
    /// The number of `MPI_THREAD_FUNNELED`.
    funneled: c_int,
}

/// More than any `MPI_Status`.
type Status = [u64; 16];

struct Opened<H> {
    functions: Functions<H>,
    abi: Abi,
    handles: Handles<H>,
    /// What a request is before a function writes it.
    empty: H,
    /// The functions are in it. It is never unloaded: MPI may leave threads and exit handlers behind.
    _library: ManuallyDrop<Library>,
}

impl<H: Copy> Opened<H> {
    fn new(library: Library, abi: Abi, handles: Handles<H>, empty: H) -> Result<Self> {
        Ok(Self {
            functions: Functions::of(&library)?,
            abi,
            handles,
            empty,
            _library: ManuallyDrop::new(library),
        })
    }

    fn check(&self, what: &str, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the buffer has room for any text of MPI.
        let text = text(|to, length| unsafe { (self.functions.error_string)(code, to, length) });
        Err(Error::failed(format!("`{what}` failed: {text}")))
    }

    /// Tests a request until it is complete, and returns what was received.
    fn complete(
        &self,
        what: &str,
        mut request: H,
        buffers: [Vec<u8>; 2],
        lists: Vec<Vec<c_int>>,
        wait: Wait,
    ) -> Result<Vec<u8>> {
        let outcome = loop {
            let (mut done, mut status): (c_int, Status) = (0, [0; 16]);
            // SAFETY: the request is the one that MPI wrote, and a status has room.
            let code = unsafe {
                (self.functions.test)(&raw mut request, &raw mut done, (&raw mut status).cast::<c_void>())
            };
            if let Err(error) = self.check(what, code) {
                break Err(error);
            }
            if done != 0 {
                break Ok(());
            }
            if let Err(error) = wait() {
                break Err(error);
            }
        };
        if let Err(error) = outcome {
            // MPI may still read and write them.
            std::mem::forget((buffers, lists));
            return Err(error);
        }
        let [_, received] = buffers;
        Ok(received)
    }
}

impl<H: Copy> Calls for Opened<H> {
    fn abi(&self) -> Abi {
        self.abi
    }

    fn version(&self) -> String {
        // SAFETY: the buffer has room for any text of MPI. The function may be called before MPI is started.
        let text = text(|to, length| unsafe { (self.functions.version)(to, length) });
        // Open MPI adds how it was built.
        text.split(',').next().unwrap_or_default().to_owned()
    }

    fn start(&self) -> Result<(usize, usize)> {
        let Handles { world, errors_return, funneled, .. } = self.handles;
        let (mut provided, mut rank, mut size) = (0, 0, 0);
        // SAFETY: MPI accepts null pointers in place of the arguments of `main`.
        let code = unsafe {
            (self.functions.init_thread)(ptr::null_mut(), ptr::null_mut(), funneled, &raw mut provided)
        };
        self.check("MPI_Init_thread", code)?;
        // SAFETY: MPI is started, and the handles are those of the interface.
        let codes = unsafe {
            [
                (self.functions.set_errhandler)(world, errors_return),
                (self.functions.rank)(world, &raw mut rank),
                (self.functions.size)(world, &raw mut size),
            ]
        };
        codes.into_iter().try_for_each(|code| self.check("MPI_Comm_rank", code))?;
        let number = |number: c_int| {
            usize::try_from(number)
                .map_err(|_| Error::failed("MPI numbers the processes with negative numbers"))
        };
        Ok((number(rank)?, number(size)?))
    }

    fn finish(&self) -> Result<()> {
        // SAFETY: no request is in progress: each is completed where it is started, or the connection is given up.
        let code = unsafe { (self.functions.finalize)() };
        self.check("MPI_Finalize", code)
    }

    fn gather(&self, own: Vec<u8>, counts: &[usize], wait: Wait) -> Result<Vec<u8>> {
        let (counts, offsets) = (ints(counts)?, offsets(counts)?);
        let length = ints(&[own.len()])?[0];
        let (own, mut received) = (allocated(own), allocated(vec![0u8; total(&counts)]));
        let mut request = self.empty;
        let Handles { world, byte, .. } = self.handles;
        // SAFETY: the buffers have the lengths that the counts add up to, and live until the request is complete.
        let code = unsafe {
            (self.functions.gather)(
                own.as_ptr().cast(),
                length,
                byte,
                received.as_mut_ptr().cast(),
                counts.as_ptr(),
                offsets.as_ptr(),
                byte,
                world,
                &raw mut request,
            )
        };
        self.check("MPI_Iallgatherv", code)?;
        self.complete("MPI_Iallgatherv", request, [own, received], vec![counts, offsets], wait)
    }

    fn exchange(&self, own: Vec<u8>, give: &[usize], take: &[usize], wait: Wait) -> Result<Vec<u8>> {
        let (give, give_at) = (ints(give)?, offsets(give)?);
        let (take, take_at) = (ints(take)?, offsets(take)?);
        if own.len() != total(&give) {
            return Err(Error::bug("parts for other ranks have other lengths than announced"));
        }
        let (own, mut received) = (allocated(own), allocated(vec![0u8; total(&take)]));
        let mut request = self.empty;
        let Handles { world, byte, .. } = self.handles;
        // SAFETY: the buffers have the lengths that the counts add up to, and live until the request is complete.
        let code = unsafe {
            (self.functions.exchange)(
                own.as_ptr().cast(),
                give.as_ptr(),
                give_at.as_ptr(),
                byte,
                received.as_mut_ptr().cast(),
                take.as_ptr(),
                take_at.as_ptr(),
                byte,
                world,
                &raw mut request,
            )
        };
        self.check("MPI_Ialltoallv", code)?;
        self.complete("MPI_Ialltoallv", request, [own, received], vec![give, give_at, take, take_at], wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_is_an_error_with_the_words_of_the_system() {
        let error = open(Path::new("/nowhere/libmpi.so")).err().unwrap();
        assert!(error.message.contains("/nowhere/libmpi.so"), "{error}");
        #[cfg(target_os = "linux")]
        assert!(error.message.contains("No such file"), "{error}");
        let error = open(Path::new("libm.so.6")).err().unwrap();
        assert!(error.message.contains("MPI_Init_thread"), "{error}");
    }
}
