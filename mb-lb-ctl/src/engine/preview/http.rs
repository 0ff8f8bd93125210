//! What changes in `[admin]` for the page.

use crate::config::{AdminHttp, Login, Secret};

pub(super) fn changes(
    old: Option<&AdminHttp>,
    new: Option<&AdminHttp>,
    differ: &mut impl FnMut(String, String, String),
) {
    let listen = |http: Option<&AdminHttp>| match http {
        Some(http) => http.listen.to_string(),
        None => "none".to_owned(),
    };
    differ("admin.http".into(), listen(old), listen(new));
    let (old, new) = (login(old), login(new));
    let user = |login: Option<&Login>| match login {
        Some(login) => login.user.clone(),
        None => "none".to_owned(),
    };
    differ("admin.user".into(), user(old), user(new));
    let file = |login: Option<&Login>| match login.map(|login| &login.password) {
        Some(Secret::File(path)) => path.display().to_string(),
        Some(Secret::Text(_)) | None => "none".to_owned(),
    };
    differ("admin.password_file".into(), file(old), file(new));
    let text = |login: Option<&Login>| match login.map(|login| &login.password) {
        Some(Secret::Text(text)) => Some(text.clone()),
        Some(Secret::File(_)) | None => None,
    };
    if text(old) != text(new) {
        differ(
            "admin.password".into(),
            "the old one".into(),
            "another one".into(),
        );
    }
}

fn login(http: Option<&AdminHttp>) -> Option<&Login> {
    http?.login.as_ref()
}
