//! Digests by which other projects name files: SHA-256, and the object names of git.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// SHA-256 of a stream of bytes (FIPS 180-4).
pub struct Sha256(Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Sha256 {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// 64 lowercase hexadecimal digits.
    pub fn finish(self) -> String {
        hexadecimal(self.0.finish().as_ref())
    }
}

/// The name that git gives to a file: SHA-1 of a header with its length, and its bytes. It identifies files; it is no
/// protection against forgery.
pub struct GitBlob(Context);

impl GitBlob {
    /// `length` is the number of bytes that follow.
    pub fn new(length: u64) -> Self {
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(format!("blob {length}\0").as_bytes());
        Self(context)
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// 40 lowercase hexadecimal digits.
    pub fn finish(self) -> String {
        hexadecimal(self.0.finish().as_ref())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let mut sha256 = Sha256::default();
        sha256.update(b"a");
        sha256.update(b"bc");
        assert_eq!(sha256.finish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        // `printf 'hello\n' | git hash-object --stdin`
        let mut blob = GitBlob::new(6);
        blob.update(b"hello\n");
        assert_eq!(blob.finish(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
