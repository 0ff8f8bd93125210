//! Basic authentication (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Who may use the page. The password itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub user: String,
    /// Of `user:password`.
    digest: [u8; 32],
}

impl Account {
    pub fn new(user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            digest: Sha256::digest(format!("{user}:{password}")).into(),
        }
    }

    /// Whether the value of an `Authorization` field is that of the account. How long it takes tells nothing of how
    /// much of it is right: digests are compared, of one length, byte by byte to the end.
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let given = authorization.and_then(credentials).unwrap_or_default();
        let digest: [u8; 32] = Sha256::digest(given).into();
        self.digest.ct_eq(&digest).into()
    }
}

/// `user:password`, as it was before it was encoded.
fn credentials(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = value.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    STANDARD.decode(rest.trim_ascii()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_user_and_password_together_are_admitted() {
        let account = Account::new("admin", "se:cret ä");
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let good = basic("admin:se:cret ä");
        assert!(account.admits(Some(good.as_bytes())));
        assert!(account.admits(Some(good.replace("Basic", "bASIC").as_bytes())));
        for bad in [
            basic("admin:se:cret"),
            basic("admin:"),
            basic("admin"),
            basic(":se:cret ä"),
            basic("Admin:se:cret ä"),
            basic(""),
            good.replace("Basic", "Bearer"),
            good.replace("Basic ", "Basic"),
            "Basic ".to_owned(),
            "Basic %%%".to_owned(),
            "Basic".to_owned(),
            String::new(),
        ] {
            assert!(!account.admits(Some(bad.as_bytes())), "{bad}");
        }
        assert!(!account.admits(None));
        assert!(!format!("{account:?}").contains("cret"));
    }
}
