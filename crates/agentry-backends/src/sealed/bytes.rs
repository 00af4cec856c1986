//! Bodies and answers, which stores keep as bytes: sealed, they are bytes too.

use agentry_core::store::Error;
use bytes::Bytes;

use super::keyring::Safe;

impl Safe<'_> {
    pub(super) fn bytes(&self, place: &str, plain: &[u8]) -> Result<Bytes, Error> {
        self.seal_bytes(place, plain.to_vec()).map(Bytes::from)
    }

    pub(super) fn bytes_of(&self, place: &str, sealed: Bytes) -> Result<Bytes, Error> {
        Ok(self.open_bytes(place, &sealed)?.map_or(sealed, Bytes::from))
    }
}
