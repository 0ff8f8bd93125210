//! The page.

use std::net::SocketAddr;

use serde::Serialize;

use super::Secret;

/// `admin.http` and who may use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdminHttp {
    /// All addresses of this machine where the address is unspecified.
    pub listen: SocketAddr,
    /// `None`: everybody may read, and nobody change anything.
    pub login: Option<Login>,
}

/// `admin.user` with its password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Login {
    /// Not empty, without a colon (RFC 7617 section 2).
    pub user: String,
    pub password: Secret,
}
