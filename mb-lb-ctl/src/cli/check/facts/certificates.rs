//! Certificates of proxies, in the words in which `reload` refuses them.

use super::{Fact, fact};
use crate::config::Config;
use crate::proxy::Certificates;

pub fn missing(config: &Config) -> Vec<Fact> {
    let mut facts = Vec::new();
    for proxy in &config.proxies {
        for error in Certificates::load(&proxy.certificates)
            .err()
            .unwrap_or_default()
        {
            facts.extend(fact(format!("proxy {}: {error}", proxy.name), error.next()));
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_said_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        std::fs::write(path("good.pem"), certificate.clone() + &key.serialize_pem())
            .expect("written");
        std::fs::write(path("alone.pem"), certificate).expect("written");
        let text = format!(
            "[director]\nname = \"lb1\"\n\
             [proxy.a]\nlisten = \"192.0.2.100:443\"\ncertificate = [{:?}, {:?}, {:?}]\nservers = {{ m = \"192.0.2.1:80\" }}\n\
             [proxy.b]\nlisten = \"192.0.2.100:80\"\nservers = {{ m = \"192.0.2.1:80\" }}\n\
             [proxy.c]\nlisten = \"192.0.2.101:443\"\ncertificate = {:?}\nservers = {{ m = \"192.0.2.1:80\" }}\n",
            path("nowhere.pem"),
            path("good.pem"),
            path("alone.pem"),
            path("good.pem"),
        );
        let parsed = crate::config::parse(&text, "host");
        let facts = missing(&parsed.config.expect("valid"));
        let facts: Vec<_> = facts
            .iter()
            .map(|fact| (fact.text.as_str(), fact.next.as_str()))
            .collect();
        let expected = [
            format!(
                "proxy a: {}: No such file or directory (os error 2)",
                path("nowhere.pem")
            ),
            format!(
                "proxy a: {}: no key in it, and none beside it ({} or {})",
                path("alone.pem"),
                path("alone.key"),
                path("alone.pem.key")
            ),
        ];
        assert_eq!(
            facts,
            [
                (
                    expected[0].as_str(),
                    "write the file, or correct `certificate`"
                ),
                (expected[1].as_str(), "put the key into it, or beside it"),
            ]
        );
    }
}
