//! Ids as the server's `uuid`.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(pub [u8; 16]);

impl ToSql for Id {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    accepts!(UUID);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Id {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.try_into()?))
    }

    accepts!(UUID);
}

macro_rules! id {
    ($($id:ident)*) => {
        $(impl From<agentry_core::$id> for Id {
            fn from(id: agentry_core::$id) -> Self {
                Self(*id.as_bytes())
            }
        }

        impl From<Id> for agentry_core::$id {
            fn from(id: Id) -> Self {
                Self::from_bytes(id.0)
            }
        })*
    };
}

id!(RunId ThreadId CheckpointId);
