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

#[cfg(test)]
mod tests {
    use super::super::changes;
    use crate::config::{self, Config};

    fn parse(admin: &str) -> Config {
        let source = format!(
            "[admin]\n{admin}\n[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = {{ mb1 = \"192.0.2.1\", mb2 = \"192.0.2.2\" }}\n"
        );
        config::parse(&source, "lb1").config.expect("valid")
    }

    #[test]
    fn every_change_is_said_but_for_the_password_itself() {
        let none = parse("");
        let open = parse("http = \"127.0.0.1:8404\"");
        let login = "http = \"127.0.0.1:8404\"\nuser = \"admin\"";
        let file = parse(&format!("{login}\npassword_file = \"/etc/x\""));
        let text = parse(&format!("{login}\npassword = \"hunter2\""));
        let other = parse(&format!("{login}\npassword = \"hunter3\""));
        assert_eq!(
            changes(&none, &open),
            ["~ admin.http none -> 127.0.0.1:8404"]
        );
        assert_eq!(
            changes(&open, &none),
            ["~ admin.http 127.0.0.1:8404 -> none"]
        );
        assert_eq!(
            changes(&open, &file),
            [
                "~ admin.user none -> admin",
                "~ admin.password_file none -> /etc/x"
            ]
        );
        assert_eq!(
            changes(&text, &other),
            ["~ admin.password the old one -> another one"]
        );
        assert_eq!(changes(&text, &text), Vec::<String>::new());
    }
}
